// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include <cull/config.hpp>
#include <cull/cpu/aligned_buffer.hpp>
#include <cull/cpu/packed_rows.hpp>
#include <cull/cpu/row_decoder.hpp>
#include <cull/cpu/tiled_product.hpp>
#include <cull/cpu/x86/fixed_point.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// `tiled_product` for few tokens and stored rows that are decoded in registers: nothing but the packed bytes is read, no decoded
/// value written. The same bits, so the number of tokens may decide between them.
template <class Kernel>
class direct_product {
 public:
  explicit direct_product(token_panel<Kernel> const& x) : x_(x) {}

  template <class Source, class Finish>
  void run(std::int64_t first_strip, std::int64_t last_strip, Source const& source, Finish const& finish) {
    auto const size = x_.tiles() * Kernel::tokens * Kernel::rows;
    float* const sums = sums_.reserve(Source::together * size);
    std::fill(sums, sums + Source::together * size, 0.0f);  // those of tokens that fill the last tile up
    for (std::int64_t strip = first_strip; strip < last_strip; ++strip) {
      float* const to = sums + strip % Source::together * size;
      multiply(strip, source, to);
      finish(strip, std::int64_t{0}, x_.tiles(), to);
    }
  }

 private:
  template <class Source>
  void multiply(std::int64_t strip, Source const& source, float* sums) {
    typename Kernel::element const* tokens[Kernel::direct_tokens] = {};
    for (std::int64_t t = 0; t < x_.tiles() * Kernel::tokens; ++t) {
      tokens[t] = x_.at(t / Kernel::tokens, 0) + t % Kernel::tokens * x_.stride();
    }
    Kernel::multiply_packed(tokens, static_cast<int>(x_.tokens()), Kernel::tokens * x_.stride(), source.stored(strip, rows_),
                            x_.columns().columns, sums);
  }

  token_panel<Kernel> const& x_;
  aligned_buffer<float> sums_;
  aligned_buffer<std::uint8_t> rows_;
};

/// The products of a panel with strips [first, last), whole pairs where `source.together` is 2.
template <class Kernel, class Source, class Finish>
void multiply_strips(token_panel<Kernel> const& x, std::int64_t first, std::int64_t last, Source const& source,
                     Finish const& finish) {
  if constexpr (Kernel::direct_tokens > 0) {
    if (x.tokens() <= Kernel::direct_tokens && source.direct()) return direct_product<Kernel>{x}.run(first, last, source, finish);
  }
  tiled_product<Kernel>{x}.run(first, last, source, finish);
}

/// Activations as a kernel wants them.
template <class Kernel>
struct panel_of {
  using type = token_panel<Kernel>;
};

#if CULL_X86
template <stored_rows_only Kernel>
struct panel_of<Kernel> {
  using type = fixed_point_panel<Kernel>;
};

/// `multiply_strips` in fixed point: strip by strip, a token after the other.
template <class Kernel, class Source, class Finish>
void multiply_strips(fixed_point_panel<Kernel> const& x, std::int64_t first, std::int64_t last, Source const& source,
                     Finish const& finish) {
  aligned_buffer<std::uint8_t> copied;
  aligned_buffer<float> const sums{x.tokens() * Kernel::rows};
  for (std::int64_t strip = first; strip < last; ++strip) {
    auto const rows = source.stored(strip, copied);
    for (std::int64_t t = 0; t < x.tokens(); ++t) Kernel::multiply(x.of(t), rows, x.columns(), sums.data() + t * Kernel::rows);
    finish(strip, std::int64_t{0}, x.tokens(), sums.data());
  }
}
#endif

}  // namespace detail

CULL_NAMESPACE_END
