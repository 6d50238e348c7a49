// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include <cull/cuda/context.hpp>
#include <cull/cuda/divider.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// Columns of a row that a warp works on: 32 blocks of 16, whose scales fill one sector of memory.
inline constexpr int warp_tile = 512;

/// Blocks of `threads` for `size` threads that go on with a stride; enough for any device, and no more than a grid may have.
constexpr grid_size grid_of(std::int64_t size, unsigned threads) {
  return {static_cast<unsigned>(std::clamp<std::int64_t>((size + threads - 1) / threads, 1, 1 << 20)), 1};
}

/// The tiles of a matrix, `Width` columns of a row each, for one whole warp.
template <int Width>
struct tiles_of_width {
  std::uint32_t count;
  std::uint32_t columns;  // of the matrix
  divider per_row;

  constexpr grid_size grid(unsigned threads) const { return grid_of(std::int64_t{count} * 32, threads); }

  /// Calls `work(row, first column)`, 32 bits each, for every tile.
  CULL_EXEC_CHECK_OFF
  template <class Ctx, class Work>
  CULL_HD void for_each(Ctx const& c, Work work) const {
    auto const warps = c.threads() / 32;
    for (auto i = c.block() * warps + c.warp(); i < count; i += c.blocks() * warps) {
      auto const row = per_row.quotient(i);
      work(row, (i - row * per_row.by()) * Width);
    }
  }
};

using warp_tiles = tiles_of_width<warp_tile>;

/// Throws `errc::out_of_range` where there are 2^31 columns, or 2^31 tiles: a terabyte.
template <int Width = warp_tile>
tiles_of_width<Width> warp_tiles_of(std::int64_t rows, std::int64_t cols) {
  auto const per_row = (cols + Width - 1) / Width;
  if (cols > 0x7fffffff || (per_row > 0 && rows > 0x7fffffff / per_row)) {
    throw error{errc::out_of_range, "CUDA: a matrix of 2^31 columns or 2^40 values and more; split it"};
  }
  return {static_cast<std::uint32_t>(rows * per_row), static_cast<std::uint32_t>(cols),
          divider{static_cast<std::uint32_t>(per_row > 0 ? per_row : 1)}};
}

}  // namespace simt

CULL_NAMESPACE_END
