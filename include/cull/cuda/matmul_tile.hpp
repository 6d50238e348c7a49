// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cuda/context.hpp>
#include <cull/cuda/expert_table.hpp>
#include <cull/cuda/latency_product.hpp>
#include <cull/cuda/split_bf16.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// y = x * w^T for up to `Tokens` tokens and 128 rows of w. Block b works on rows b % blocks_per_tile of tokens b /
/// blocks_per_tile.
template <int Parts, int Tokens, class Weights>
struct matmul_tile {
  using product = product_for<Parts, Tokens, Weights>;
  using Shared = typename product::Shared;
  static constexpr unsigned threads = product::threads;
  static constexpr unsigned min_blocks = product::min_blocks;
  static constexpr int columns = tile_layout::rows;

  weight_rows weights;
  std::uint16_t const* x;  // Parts planes [tokens, plane_width(k)]
  std::int64_t x_part_stride;
  std::int32_t tokens;
  std::int32_t k;
  std::int32_t rows;  // of w
  bool wide_scales;
  float* y;
  std::int64_t y_stride;

  CULL_EXEC_CHECK_OFF
  template <thread_context C>
  CULL_HD void operator()(C const& c, Shared& s) const {
    auto const blocks_per_tile = static_cast<unsigned>((rows + columns - 1) / columns);
    int const first = static_cast<int>(c.block() % blocks_per_tile) * columns;
    int const token = static_cast<int>(c.block() / blocks_per_tile) * Tokens;
    int const left = tokens - token < Tokens ? tokens - token : Tokens;
    int const thread = static_cast<int>(c.thread());
    typename product::sources from{};
    from.x = x;
    from.x_part_stride = x_part_stride;
    from.x_row =
        static_cast<std::uint32_t>(token + (thread < left ? thread : 0)) * static_cast<std::uint32_t>(plane_width(k) / 8);
    auto const place = [&](int row) {
      return tile_place{weights, first + row, columns / Weights::sharers, first + columns, rows};
    };
    from.codes = code_source_of<Weights>(thread, place);
    from.scale_row = scale_row_of<Weights>(thread, place);
    from.wide_scales = wide_scales;
    product::run(c, s, k, from);
    for (int row = static_cast<int>(c.warp()); row < left; row += static_cast<int>(threads / 32)) {
      for (int column = static_cast<int>(c.lane()); column < columns && first + column < rows; column += 32) {
        c.store(y + (token + row) * y_stride + first + column,
                static_cast<float>(static_cast<double>(c.load_shared(&s.sums[row][column])) * weights.outer_scale));
      }
    }
  }
};

}  // namespace simt

CULL_NAMESPACE_END
