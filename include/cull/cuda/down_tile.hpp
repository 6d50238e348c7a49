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

/// What becomes of f_j(x): row `pair` of `outputs` [tokens * k, hidden], rows aligned to 16 bytes. A warp stores 128 columns of a
/// token.
struct store_outputs {
  float* outputs;
  std::int64_t stride;

  CULL_EXEC_CHECK_OFF
  template <class C, class Sums>
  CULL_HD void operator()(C const& c, Sums const& sums) const {
    auto const column = 4 * static_cast<int>(c.lane());
    if (sums.first + column >= sums.hidden) return;
    auto const biases = sums.biases(c, column);
    for (int row = static_cast<int>(c.warp()); row < sums.tile.rows; row += 4) {
      auto const pair = static_cast<std::int64_t>(c.load(sums.pairs + sums.tile.first + row));
      c.store(reinterpret_cast<pack<float, 4>*>(outputs + pair * stride + sums.first + column),
              sums.four(c, row, column, biases));
    }
  }
};

/// f_j(x) is not stored: `squares` [blocks, tokens of a tile] gets the sum of its squares over each block's columns, in f32: four
/// chains of 16 for each half of the columns, joined as (0 + 1) + (2 + 3), then the halves.
struct sum_squares {
  float* squares;

  CULL_EXEC_CHECK_OFF
  template <class C, class Sums>
  CULL_HD void operator()(C const& c, Sums const& sums) const {
    constexpr int tokens = Sums::tokens;
    if constexpr (tokens == 64) {
      int const row = static_cast<int>(c.thread()) % 64, half = static_cast<int>(c.thread()) / 64;
      c.store_shared(&sums.shared->squares[half][row], of_thread(c, sums, row, half));
    } else if (c.warp() < 2) {
      // Tokens are few: a warp has a half of the columns, and a lane one of a token's chains.
      int const row = static_cast<int>(c.lane()) / 4, half = static_cast<int>(c.warp());
      float const sum = of_lanes(c, sums, row, half);
      if (c.lane() % 4 == 0) c.store_shared(&sums.shared->squares[half][row], sum);
    }
    c.sync();
    auto const row = static_cast<int>(c.thread());
    if (row >= tokens) return;
    c.store(squares + static_cast<std::int64_t>(c.block()) * tokens + row,
            c.load_shared(&sums.shared->squares[0][row]) + c.load_shared(&sums.shared->squares[1][row]));
  }

 private:
  CULL_EXEC_CHECK_OFF
  template <class C, class Sums>
  CULL_HD static float of_thread(C const& c, Sums const& sums, int row, int half) {
    float chains[4] = {};
    for (int column = 64 * half; column < 64 * half + 64 && sums.first + column < sums.hidden; column += 4) {
      auto const f = sums.four(c, row, column, sums.biases(c, column));
      CULL_UNROLL_FULLY
      for (int i = 0; i < 4; ++i) chains[i] = c.fma(f[i], f[i], chains[i]);
    }
    return (chains[0] + chains[1]) + (chains[2] + chains[3]);
  }
  CULL_EXEC_CHECK_OFF
  template <class C, class Sums>
  CULL_HD static float of_lanes(C const& c, Sums const& sums, int row, int half) {
    int const turn = static_cast<int>(c.lane()) % 4;
    float chain = 0.0f;
    for (int column = 64 * half; column < 64 * half + 64 && sums.first + column < sums.hidden; column += 4) {
      auto const biases = sums.biases(c, column);
      float const low = turn % 2 == 0 ? biases[0] : biases[1], high = turn % 2 == 0 ? biases[2] : biases[3];
      float const f = sums.one(c, row, column + turn, turn < 2 ? low : high);
      chain = c.fma(f, f, chain);
    }
    chain += c.shuffle_xor(chain, 1u, all_lanes);
    return chain + c.shuffle_xor(chain, 2u, all_lanes);
  }
};

/// f_j(x) = down inner + bias for up to `Tokens` tokens of an expert and 128 output columns, given to `Output`. Block b works on
/// columns b % blocks_per_tile of tile b / blocks_per_tile.
template <int Parts, int Tokens, class Output, class Weights>
struct down_tile {
  using product = product_for<Parts, Tokens, Weights>;
  using Shared = typename product::Shared;
  static constexpr unsigned threads = product::threads;
  static constexpr unsigned min_blocks = product::min_blocks;
  static constexpr int columns = 128;

  expert_weights const* experts;
  expert_tile const* tiles;
  std::int32_t const* pairs;
  std::uint16_t const* inner;  // Parts planes [pairs, plane_width(width)], in the order of `pairs`
  std::int64_t inner_part_stride;
  expert_shape shape;
  Output output;

  /// A block's finished sums, for `Output`.
  struct finished {
    static constexpr int tokens = Tokens;

    Shared* shared;
    expert_tile tile;
    std::int32_t const* pairs;
    int first;  // column
    int hidden;
    double scale;
    float const* bias;  // or null

    /// The biases of columns `first + column` to `+ 3`; where there are none -0, which changes no sum.
    CULL_EXEC_CHECK_OFF
    template <class C>
    CULL_HD pack<float, 4> biases(C const& c, int column) const {
      if (bias == nullptr) return {{-0.0f, -0.0f, -0.0f, -0.0f}};
      return four_biases(c, bias + first + column);
    }

    /// f_j(x) of row `row` of the tile in those columns.
    CULL_EXEC_CHECK_OFF
    template <class C>
    CULL_HD pack<float, 4> four(C const& c, int row, int column, pack<float, 4> const& added) const {
      auto f = c.load_shared(reinterpret_cast<pack<float, 4> const*>(&shared->sums[row][column]));
      CULL_UNROLL_FULLY
      for (int i = 0; i < 4; ++i) f[i] = static_cast<float>(static_cast<double>(f[i]) * scale) + added[i];
      return f;
    }
    CULL_EXEC_CHECK_OFF
    template <class C>
    CULL_HD float one(C const& c, int row, int column, float added) const {
      return static_cast<float>(static_cast<double>(c.load_shared(&shared->sums[row][column])) * scale) + added;
    }
  };

  CULL_EXEC_CHECK_OFF
  template <thread_context C>
  CULL_HD void operator()(C const& c, Shared& s) const {
    auto const tile = tile_of(c);
    if (tile.rows == 0) return;
    auto const* const down = &experts[tile.expert].down;
    int const first = first_column(c), thread = static_cast<int>(c.thread());
    auto const place = [&](int row) {
      return tile_place{load_rows(c, down), first + row, columns / Weights::sharers, first + columns, shape.hidden};
    };
    typename product::sources from{};
    from.x = inner;
    from.x_part_stride = inner_part_stride;
    from.x_row = static_cast<std::uint32_t>(tile.first + (thread < tile.rows ? thread : 0)) *
                 static_cast<std::uint32_t>(plane_width(shape.width) / 8);
    from.codes = code_source_of<Weights>(thread, place);
    from.scale_row = scale_row_of<Weights>(thread, place);
    from.wide_scales = shape.wide_scales;
    product::run(c, s, shape.width, from);
    finish(c, s);
  }

 private:
  CULL_HD unsigned blocks_per_tile() const { return static_cast<unsigned>((shape.hidden + columns - 1) / columns); }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD expert_tile tile_of(C const& c) const {
    return c.load(tiles + c.block() / blocks_per_tile());
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD int first_column(C const& c) const {
    return static_cast<int>(c.block() % blocks_per_tile()) * columns;
  }

  /// Tile and expert are found again, so that no register keeps them through the main loop.
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD void finish(C const& c, Shared& s) const {
    auto const tile = tile_of(c);
    auto const& expert = experts[tile.expert];
    output(c,
           finished{&s, tile, pairs, first_column(c), shape.hidden, c.load(&expert.down.outer_scale), c.load(&expert.down_bias)});
  }
};

}  // namespace simt

CULL_NAMESPACE_END
