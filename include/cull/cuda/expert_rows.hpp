// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cuda/context.hpp>
#include <cull/cuda/expert_tiles.hpp>
#include <cull/cuda/row_product.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// Latency: inner = act(gate x, up x) of up to four tokens of an expert, a warp for one channel (two where experts are not
/// gated). `inner` [pairs, width] f32, rounded by `Precision`. Block b works on channels b % blocks_per_tile of tile b /
/// blocks_per_tile.
template <class Precision, class Activation, bool Gated>
struct gate_up_rows {
  using Shared = no_shared;
  static constexpr unsigned threads = 128;
  static constexpr int channels = Gated ? 4 : 8;

  expert_weights const* experts;
  expert_tile const* tiles;
  std::int32_t const* pairs;
  float const* x;  // rows of f32, already rounded by `Precision`
  std::int64_t x_stride;
  std::int32_t pairs_per_x_row;
  float* inner;
  expert_shape shape;
  Activation activation;

  CULL_EXEC_CHECK_OFF
  template <thread_context C>
  CULL_HD void operator()(C const& c, Shared&) const {
    auto const blocks_per_tile = static_cast<unsigned>((shape.width + channels - 1) / channels);
    auto const tile = c.load(tiles + c.block() / blocks_per_tile);
    auto const channel = static_cast<int>(c.block() % blocks_per_tile) * channels + static_cast<int>(c.warp()) * (channels / 4);
    if (tile.rows == 0 || channel >= shape.width) return;
    float const* rows[row_product::tokens];
    for (int t = 0; t < row_product::tokens; ++t) {
      auto const pair = c.load(pairs + tile.first + (t < tile.rows ? t : 0));
      rows[t] = x + static_cast<std::int64_t>(pair / pairs_per_x_row) * x_stride;
    }
    auto const& weights = experts[tile.expert];
    float sums[2][row_product::tokens] = {};
    row_product::run(c, shape.hidden, Gated ? weights.gate : weights.up, channel, weights.up, Gated ? channel : channel + 1, rows,
                     tile.rows, sums);
    auto const t = static_cast<int>(c.lane());
    if (t >= tile.rows) return;
    auto const mine = row_product::of(sums, t);
    auto* const to = inner + static_cast<std::int64_t>(tile.first + t) * shape.width + channel;
    if constexpr (Gated) {
      c.store(to, Precision::activation(activation(scaled(mine[0], weights.gate), scaled(mine[1], weights.up))));
    } else {
      c.store(to, Precision::activation(activation(scaled(mine[0], weights.up))));
      c.store(to + 1, Precision::activation(activation(scaled(mine[1], weights.up))));
    }
  }

 private:
  CULL_HD static float scaled(float sum, nvfp4_rows const& m) {
    return static_cast<float>(static_cast<double>(sum) * m.outer_scale);
  }
};

/// Latency: f_j(x) = down inner for up to four tokens of an expert, a warp for two columns, to row `pair` of `outputs`.
struct down_rows {
  using Shared = no_shared;
  static constexpr unsigned threads = 128;
  static constexpr int columns = 8;

  expert_weights const* experts;
  expert_tile const* tiles;
  std::int32_t const* pairs;
  float const* inner;  // [pairs, width]
  expert_shape shape;
  float* outputs;
  std::int64_t stride;

  CULL_EXEC_CHECK_OFF
  template <thread_context C>
  CULL_HD void operator()(C const& c, Shared&) const {
    auto const blocks_per_tile = static_cast<unsigned>((shape.hidden + columns - 1) / columns);
    auto const tile = c.load(tiles + c.block() / blocks_per_tile);
    auto const column = static_cast<int>(c.block() % blocks_per_tile) * columns + static_cast<int>(c.warp()) * 2;
    if (tile.rows == 0 || column >= shape.hidden) return;
    float const* rows[row_product::tokens];
    for (int t = 0; t < row_product::tokens; ++t) {
      rows[t] = inner + static_cast<std::int64_t>(tile.first + (t < tile.rows ? t : 0)) * shape.width;
    }
    auto const& down = experts[tile.expert].down;
    float sums[2][row_product::tokens] = {};
    row_product::run(c, shape.width, down, column, down, column + 1, rows, tile.rows, sums);
    auto const t = static_cast<int>(c.lane());
    if (t >= tile.rows) return;
    auto const mine = row_product::of(sums, t);
    auto* const to = outputs + static_cast<std::int64_t>(c.load(pairs + tile.first + t)) * stride + column;
    c.store(to, static_cast<float>(static_cast<double>(mine[0]) * down.outer_scale));
    c.store(to + 1, static_cast<float>(static_cast<double>(mine[1]) * down.outer_scale));
  }
};

}  // namespace simt

CULL_NAMESPACE_END
