// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cuda/context.hpp>
#include <cull/cuda/expert_table.hpp>
#include <cull/cuda/expert_tiles.hpp>
#include <cull/cuda/latency_product.hpp>
#include <cull/cuda/split_bf16.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// inner = act(gate x + bias, up x + bias) of up to `Tokens` tokens of an expert, for 64 channels (128 where experts are not
/// gated), rounded to `Parts` planes of bf16 in the order of `paired_element`, which is what the down projection reads. Both
/// products stay in registers. Block b works on channels b % blocks_per_tile of tile b / blocks_per_tile.
template <int Parts, int Tokens, class Activation, bool Gated, class Weights>
struct gate_up_tile {
  using product = product_for<Parts, Tokens, Weights>;
  using Shared = typename product::Shared;
  static constexpr unsigned threads = product::threads;
  static constexpr unsigned min_blocks = product::min_blocks;
  static constexpr int channels = Gated ? 64 : 128;

  expert_weights const* experts;
  expert_tile const* tiles;
  std::int32_t const* pairs;
  std::uint16_t const* x;  // Parts planes [x rows, plane_width(hidden)]
  std::int64_t x_part_stride;
  std::int32_t pairs_per_x_row;  // k where tokens share a row, 1 where each pair has its own
  std::uint16_t* inner;          // Parts planes [pairs, plane_width(width)], in the order of `pairs`; zeros from width on
  std::int64_t inner_part_stride;
  expert_shape shape;
  Activation activation;

  CULL_EXEC_CHECK_OFF
  template <thread_context C>
  CULL_HD void operator()(C const& c, Shared& s) const {
    int const blocks_per_tile = (shape.width + channels - 1) / channels;
    auto const tile = c.load(tiles + c.block() / static_cast<unsigned>(blocks_per_tile));
    if (tile.rows == 0) return;
    int const first = static_cast<int>(c.block() % static_cast<unsigned>(blocks_per_tile)) * channels;
    auto const& weights = experts[tile.expert];
    int const thread = static_cast<int>(c.thread());
    auto const place = [&](int row) {
      return tile_place{load_rows(c, matrix_of(weights, row)), first + channel_of(row), channels / Weights::sharers,
                        first + channels, shape.width};
    };
    typename product::sources from{};
    from.x = x;
    from.x_part_stride = x_part_stride;
    auto const pair = c.load(pairs + tile.first + (thread < tile.rows ? thread : 0));
    from.x_row = static_cast<std::uint32_t>(pair / pairs_per_x_row) * static_cast<std::uint32_t>(plane_width(shape.hidden) / 8);
    from.codes = code_source_of<Weights>(thread, place);
    from.scale_row = scale_row_of<Weights>(thread, place);
    from.wide_scales = shape.wide_scales;
    product::run(c, s, shape.hidden, from);
    finish(c, s);
  }

 private:
  /// Which of the expert's matrices row `row` of the 128 belongs to: of a warp's 32 the first half is gate's.
  CULL_HD static weight_rows const* matrix_of(expert_weights const& w, int row) {
    return Gated && row % 32 < 16 ? &w.gate : &w.up;
  }

  /// Rows stand in the order of `inner` in memory.
  CULL_HD static int channel_of(int row) {
    int const place = Gated ? row / 32 * 16 + row % 16 : row;
    return place / 8 * 8 + paired_element(place % 8);
  }

  /// A thread makes four adjacent channels of a token at a time, lanes side by side.
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD void finish(C const& c, Shared& s) const {
    // Found again, so that no register keeps them through the main loop.
    int const blocks_per_tile = (shape.width + channels - 1) / channels;
    auto const tile = c.load(tiles + c.block() / static_cast<unsigned>(blocks_per_tile));
    int const first = static_cast<int>(c.block() % static_cast<unsigned>(blocks_per_tile)) * channels;
    auto const& w = experts[tile.expert];
    double const up_scale = c.load(&w.up.outer_scale);
    double const gate_scale = c.load(&w.gate.outer_scale);
    constexpr int fours = channels / 4;
    for (int i = static_cast<int>(c.thread()); i < tile.rows * fours; i += static_cast<int>(threads)) {
      int const token = i / fours, place = i % fours * 4;
      if (first + place >= plane_width(shape.width)) continue;
      int const up_row = Gated ? place / 16 * 32 + 16 + place % 16 : place;
      float values[4];
      [[maybe_unused]] float gate[4];
      if constexpr (Gated) {
        // Neighbours of 16 channels read gate and up in turns: their rows are 32 apart, in the same banks.
        int const turn = place / 16 % 2 * 16;
        auto const one = c.load_shared(reinterpret_cast<pack<float, 4> const*>(&s.sums[token][up_row - turn]));
        auto const other = c.load_shared(reinterpret_cast<pack<float, 4> const*>(&s.sums[token][up_row - 16 + turn]));
        CULL_UNROLL_FULLY
        for (int j = 0; j < 4; ++j) {
          gate[j] = scaled(turn != 0 ? one[j] : other[j], gate_scale);
          values[j] = scaled(turn != 0 ? other[j] : one[j], up_scale);
        }
        add_bias(c, c.load(&w.gate_bias), first + place, gate);
      } else {
        auto const up = c.load_shared(reinterpret_cast<pack<float, 4> const*>(&s.sums[token][up_row]));
        CULL_UNROLL_FULLY
        for (int j = 0; j < 4; ++j) values[j] = scaled(up[j], up_scale);
      }
      add_bias(c, c.load(&w.up_bias), first + place, values);
      CULL_UNROLL_FULLY
      for (int j = 0; j < 4; ++j) {
        if constexpr (Gated) {
          values[j] = activation(gate[j], values[j]);
        } else {
          values[j] = activation(values[j]);
        }
      }
      if constexpr (!Weights::whole) {
        CULL_UNROLL_FULLY
        for (float& value : values) value = first + place < shape.width ? value : 0.0f;
      }
      store_split<Parts>(c, inner + static_cast<std::int64_t>(tile.first + token) * plane_width(shape.width) + first + place,
                         inner_part_stride, values);
    }
  }

  /// To the sums at place `channel` and the three after it, of 8 whose even elements `paired_element` has in the lower four and
  /// odd ones in the upper. Neighbours read both fours, each its own first.
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD void add_bias(C const& c, float const* bias, int channel, float (&sums)[4]) const {
    if (bias == nullptr || channel >= shape.width) return;
    bool const upper = channel % 8 != 0;
    auto const* const eight = bias + channel / 8 * 8;
    auto const own = four_biases(c, eight + (upper ? 4 : 0)), other = four_biases(c, eight + (upper ? 0 : 4));
    sums[0] += upper ? other[2] : own[0];
    sums[1] += upper ? own[2] : other[0];
    sums[2] += upper ? other[3] : own[1];
    sums[3] += upper ? own[3] : other[1];
  }

  CULL_HD static float scaled(float sum, double scale) { return static_cast<float>(static_cast<double>(sum) * scale); }
};

}  // namespace simt

CULL_NAMESPACE_END
