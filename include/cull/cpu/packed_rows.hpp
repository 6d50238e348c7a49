// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/cpu/x86/tables.hpp>
#include <cull/numeric/e8m0.hpp>
#include <cull/tensor/mxfp4.hpp>
#include <cull/tensor/nvfp4.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// Consecutive rows as they are stored, or copied: each a step behind the one before.
struct packed_strip {
  std::uint8_t const* codes = nullptr;
  std::int64_t code_step = 0;
  std::uint8_t const* scales = nullptr;
  std::int64_t scale_step = 0;
  std::int64_t ahead = 0;  ///< bytes of codes to those that are asked for meanwhile; of scales an eighth

  packed_strip from_row(int r) const { return {codes + r * code_step, code_step, scales + r * scale_step, scale_step, ahead}; }
};

/// Formats whose rows are e2m1 codes with a scale byte per `block` columns, as kernels read them. No other format is one.
template <class F>
struct packed_rows {
  static constexpr bool known = false;
};

template <class Dialect, class Layout>
struct packed_rows<nvfp4<Dialect, Layout>> {
  using parts = typename nvfp4<Dialect, Layout>::parts;
  static constexpr bool known = true;
  static constexpr bool signed_scales = true;
  static constexpr bool scales_in_rows = std::is_same_v<Layout, linear>;
  static constexpr std::int64_t block = 16;

  static std::uint8_t const* codes(parts const& p, std::int64_t row) { return p.codes + row * p.row_step * (p.cols / 2); }
  /// Scales [first, first + count) of a row where they lie, or gathered into `buffer`.
  static std::uint8_t const* scales(parts const& p, std::int64_t row, std::int64_t first, std::int64_t count,
                                    std::uint8_t* buffer) {
    auto const blocks = p.cols / block;
    auto const stored = row * p.row_step;
    if constexpr (std::is_same_v<Layout, linear>) {
      return p.scales + stored * blocks + first;
    } else {
      if constexpr (std::is_same_v<Layout, tiled_128x4>) {
        if (first % 4 == 0) return gather_fours(p.scales, stored, first, count, blocks, buffer);
      }
      for (std::int64_t b = 0; b < count; ++b) buffer[b] = p.scales[Layout::offset(stored, first + b, blocks)];
      return buffer;
    }
  }
  /// What a code of a block is multiplied by in `dequantize`.
  static float factor(parts const& p, std::uint8_t scale) {
    return Dialect::block_multiplier(e4m3_values[scale], p.tensor_scale);
  }

 private:
  /// Four scales of a row lie together in a tile.
  static std::uint8_t const* gather_fours(std::uint8_t const* scales, std::int64_t row, std::int64_t first, std::int64_t count,
                                          std::int64_t blocks, std::uint8_t* buffer) {
    std::int64_t b = 0;
    for (; b + 4 <= count; b += 4) std::memcpy(buffer + b, scales + tiled_128x4::offset(row, first + b, blocks), 4);
    for (; b < count; ++b) buffer[b] = scales[tiled_128x4::offset(row, first + b, blocks)];
    return buffer;
  }
};

template <>
struct packed_rows<mxfp4> {
  static constexpr bool known = true;
  static constexpr bool signed_scales = false;
  static constexpr std::int64_t block = 32;

  static std::uint8_t const* codes(mxfp4::parts const& p, std::int64_t row) { return p.codes + row * p.row_step * (p.cols / 2); }
  static std::uint8_t const* scales(mxfp4::parts const& p, std::int64_t row, std::int64_t first, std::int64_t, std::uint8_t*) {
    return p.scales + row * p.row_step * (p.cols / block) + first;
  }
  static float factor(mxfp4::parts const&, std::uint8_t scale) { return e8m0{scale}.decode(); }
};

}  // namespace detail

CULL_NAMESPACE_END
