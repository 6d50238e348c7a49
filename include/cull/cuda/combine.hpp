// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>

#include <cull/config.hpp>
#include <cull/cuda/context.hpp>
#include <cull/cuda/expert_tiles.hpp>
#include <cull/expert/run_experts.hpp>
#include <cull/router/routing.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// Sum over 256 threads, to thread 0: a tree by halves in each warp, then warps in order.
struct block_sum {
  static constexpr unsigned threads = 256;
  struct Shared {
    double part[threads / 32];
  };

  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static double run(C const& c, Shared& s, double value) {
    for (unsigned bits = 16; bits != 0; bits /= 2) value += c.shuffle_xor(value, bits, all_lanes);
    if (c.lane() == 0) c.store_shared(&s.part[c.warp()], value);
    c.sync();
    double sum = 0.0;
    for (unsigned w = 0; w < threads / 32; ++w) sum += c.load_shared(&s.part[w]);
    c.sync();
    return sum;
  }
};

/// One block per token: y = sum of weight * f over its choices in ascending order, f64 rounded once, as the CPU's; norms in f64,
/// squares by thread (columns thread, thread + 256, ...), then `block_sum`.
struct combine_outputs {
  using Shared = block_sum::Shared;
  static constexpr unsigned threads = block_sum::threads;

  float const* weights;
  std::int64_t weight_stride;
  float const* outputs;
  std::int64_t output_stride;
  float* y;
  std::int64_t y_stride;
  double* norms;
  std::int64_t norm_stride;
  std::int32_t k;
  std::int32_t hidden;

  CULL_EXEC_CHECK_OFF
  template <thread_context C>
  CULL_HD void operator()(C const& c, Shared& s) const {
    auto const token = static_cast<std::int64_t>(c.block());
    auto const* const rows = outputs + token * k * output_stride;
    for (auto h = static_cast<std::int64_t>(c.thread()); h < hidden; h += threads) {
      double sum = 0.0;
      for (std::int32_t i = 0; i < k; ++i) {
        auto const weight = static_cast<double>(c.load(weights + token * weight_stride + i));
        sum = c.fma(weight, static_cast<double>(c.load(rows + i * output_stride + h)), sum);  // the product is exact
      }
      c.store(y + token * y_stride + h, static_cast<float>(sum));
    }
    for (std::int32_t i = 0; i < k; ++i) {
      double squares = 0.0;
      for (auto h = static_cast<std::int64_t>(c.thread()); h < hidden; h += threads) {
        auto const f = static_cast<double>(c.load(rows + i * output_stride + h));
        squares = c.fma(f, f, squares);  // the product is exact
      }
      squares = block_sum::run(c, s, squares);
      if (c.thread() == 0) c.store(norms + token * norm_stride + i, std::sqrt(squares));
    }
  }
};

/// Norms from the sums of squares that `down_tile` leaves with `sum_squares`: one thread per row of a tile of `Tokens`, blocks of
/// columns in ascending order, in f64.
template <int Tokens>
struct finish_norms {
  using Shared = no_shared;
  static constexpr unsigned threads = Tokens < 32 ? 32 : Tokens;

  expert_tile const* tiles;
  std::int32_t const* pairs;
  float const* squares;  // [tiles, blocks_per_tile, Tokens]
  std::int32_t blocks_per_tile;
  std::int32_t k;
  double* norms;  // [tokens, k]
  std::int64_t norm_stride;

  CULL_EXEC_CHECK_OFF
  template <thread_context C>
  CULL_HD void operator()(C const& c, Shared&) const {
    auto const tile = c.load(tiles + c.block());
    auto const row = static_cast<std::int32_t>(c.thread());
    if (row >= tile.rows) return;
    double sum = 0.0;
    for (std::int64_t b = 0; b < blocks_per_tile; ++b) {
      sum += static_cast<double>(c.load(squares + (static_cast<std::int64_t>(c.block()) * blocks_per_tile + b) * Tokens + row));
    }
    auto const pair = c.load(pairs + tile.first + row);
    c.store(norms + pair / k * norm_stride + pair % k, std::sqrt(sum));
  }
};

}  // namespace simt

template <simt::device_executor Exec>
struct impl<combine_op, Exec> {
  static void run(Exec const& exec, routing<device_memory> const& chosen, matrix_view<float const, device_memory> outputs,
                  matrix_view<float, device_memory> y, matrix_view<double, device_memory> norms) {
    if (y.rows() == 0) return;
    exec.launch(simt::grid_size{static_cast<unsigned>(y.rows()), 1},
                simt::combine_outputs{chosen.weights.data(), chosen.weights.stride(), outputs.data(), outputs.stride(), y.data(),
                                      y.stride(), norms.data(), norms.stride(), static_cast<std::int32_t>(chosen.k()),
                                      static_cast<std::int32_t>(y.cols())});
  }
};

CULL_NAMESPACE_END
