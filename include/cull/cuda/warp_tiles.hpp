// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>

#include <cull/cuda/context.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// Columns of a row that a warp works on: 32 blocks of 16, whose scales fill one sector of memory.
inline constexpr int warp_tile = 512;

/// Blocks of `threads` for `size` threads that go on with a stride; enough for any device, and no more than a grid may have.
constexpr grid_size grid_of(std::int64_t size, unsigned threads) {
  return {static_cast<unsigned>(std::clamp<std::int64_t>((size + threads - 1) / threads, 1, 1 << 20)), 1};
}
constexpr grid_size warp_tile_grid(std::int64_t rows, std::int64_t cols, unsigned threads) {
  return grid_of(rows * ((cols + warp_tile - 1) / warp_tile) * 32, threads);
}

/// Calls `work(row, first column)` for every tile of `[rows, cols]`, each by one whole warp.
CULL_EXEC_CHECK_OFF
template <class Ctx, class Work>
CULL_HD void for_each_warp_tile(Ctx const& c, std::int64_t rows, std::int64_t cols, Work work) {
  auto const tiles = (cols + warp_tile - 1) / warp_tile;
  auto const warps = c.threads() / 32;
  for (auto i = std::int64_t{c.block()} * warps + c.warp(); i < rows * tiles; i += std::int64_t{c.blocks()} * warps) {
    auto const row = i / tiles;
    work(row, (i - row * tiles) * warp_tile);
  }
}

}  // namespace simt

CULL_NAMESPACE_END
