// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <utility>
#include <variant>

#include <cull/config.hpp>
#include <cull/tensor/fp8.hpp>
#include <cull/tensor/matrix.hpp>
#include <cull/tensor/mxfp4.hpp>
#include <cull/tensor/nvfp4.hpp>
#include <cull/tensor/plain.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// The memory in which a matrix lies; that of a type which does not say so is the host's.
template <class M>
struct memory_of {
  using type = host_memory;
};
template <class M>
  requires requires { typename M::memory_space; }
struct memory_of<M> {
  using type = typename M::memory_space;
};

/// Whether an operation's matrices lie where it works.
template <class M, class Exec>
concept matrix_of = std::same_as<typename memory_of<M>::type, typename Exec::memory_space>;

}  // namespace detail

/// A weight matrix in one of the formats `Formats...`, known when the checkpoint is opened. Closed at the user's list, visited once
/// per matrix: no format is decided per row.
template <matrix_format... Formats>
class any_matrix {
 public:
  constexpr any_matrix() = default;
  template <matrix_format F>
    requires(std::same_as<F, Formats> || ...)
  constexpr any_matrix(matrix<F> const& m) : held_(m) {}

  constexpr std::int64_t rows() const {
    return visit([](auto const& m) { return m.rows; });
  }
  constexpr std::int64_t cols() const {
    return visit([](auto const& m) { return m.cols; });
  }
  /// Calls `f(matrix<F> const&)` with the matrix in its own format.
  template <class F>
  constexpr decltype(auto) visit(F&& f) const {
    return std::visit(std::forward<F>(f), held_);
  }
  template <matrix_format F>
  constexpr matrix<F> const* get_if() const {
    return std::get_if<matrix<F>>(&held_);
  }

 private:
  std::variant<matrix<Formats>...> held_{};
};

/// What checkpoints of today hold as weights.
using weight_matrix =
    any_matrix<nvfp4_modelopt, nvfp4_compressed, mxfp4, fp8_block<>, fp8_tensor, bf16_format, f16_format, f32_format>;

/// `visit_matrix(m, f)`: the same call for a matrix of known format and for any_matrix.
template <matrix_format F, class Space, class Function>
constexpr decltype(auto) visit_matrix(matrix<F, Space> const& m, Function&& f) {
  return std::forward<Function>(f)(m);
}
template <matrix_format... Formats, class Function>
constexpr decltype(auto) visit_matrix(any_matrix<Formats...> const& m, Function&& f) {
  return m.visit(std::forward<Function>(f));
}

CULL_NAMESPACE_END
