// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <type_traits>

#include <cull/checkpoint/dtype.hpp>
#include <cull/checkpoint/matrix_site.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/tensor/any_matrix.hpp>

CULL_NAMESPACE_BEGIN

/// How a format is found in a checkpoint: `static std::optional<matrix<F>> read(matrix_site const&)` gives the matrix where the
/// site's tensors are of this format, nothing where they are of another, and throws `errc::unsupported_format` where they begin
/// to look like it and do not fit. Specialise it for a format of your own.
template <class F>
struct stored;

namespace detail {

template <class M>
struct matrix_reader;

/// Tries the formats in the order of the list.
template <matrix_format... Formats>
struct matrix_reader<any_matrix<Formats...>> {
  static any_matrix<Formats...> read(matrix_site const& at) {
    any_matrix<Formats...> out;
    bool found = false;
    auto const attempt = [&]<class F>(std::type_identity<F>) {
      if (found) return;
      if (auto const m = stored<F>::read(at)) {
        out = *m;
        found = true;
      }
    };
    (attempt(std::type_identity<Formats>{}), ...);
    if (found) return out;
    auto const t = at.find_any({".weight", "", ".weight_packed", "_blocks"});
    if (!t)
      throw error{
          errc::incomplete_expert, "is missing", {.file = at.folder(), .tensor = at.stem() + (at.is_fused() ? "" : ".weight")}};
    t->refuse("is stored as " + std::string{name(t->info->type)} + ", which is not a format this program reads");
  }
};

}  // namespace detail

CULL_NAMESPACE_END
