// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cuda/context.hpp>
#include <cull/cuda/decode_block.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

CULL_HD inline float upper_as_f32(std::uint32_t pair) { return __builtin_bit_cast(float, pair & 0xffff0000u); }
CULL_HD inline float lower_as_f32(std::uint32_t pair) { return __builtin_bit_cast(float, pair << 16); }

/// Four adjacent values to `Parts` planes of bf16 at `to + part * stride`: the value to nearest, then what is left of it. Three
/// parts are an f32 exactly, if it is below 2^127 and not so small that the last would be beneath bf16's smallest.
template <int Parts, class C>
CULL_HD void store_split(C const& c, std::uint16_t* to, std::int64_t stride, float (&values)[4]) {
  CULL_UNROLL_FULLY
  for (int part = 0; part < Parts; ++part) {
    pack<std::uint32_t, 2> const words{{c.bf16x2(values[0], values[1]), c.bf16x2(values[2], values[3])}};
    c.store(reinterpret_cast<pack<std::uint32_t, 2>*>(to + part * stride), words);
    CULL_UNROLL_FULLY
    for (int i = 0; i < 2; ++i) {
      values[2 * i] = c.subtract(values[2 * i], lower_as_f32(words[i]));
      values[2 * i + 1] = c.subtract(values[2 * i + 1], upper_as_f32(words[i]));
    }
  }
}

/// How far apart the rows of a plane are: whole stages of the tile kernels, zeros from `columns` on.
CULL_HD constexpr std::int32_t plane_width(std::int32_t columns) { return (columns + 63) / 64 * 64; }

/// Activations [rows, columns] f32 to the planes that the tile kernels read: `Parts` of bf16, in the order of `paired_element`
/// within 8 columns. Row r of the result is row r / pairs_per_row of x, times `weights[r]` (rounded to f32) where there are
/// weights. A thread has 4 columns and swaps two with its neighbour, so that loads and stores are whole sectors.
template <int Parts>
struct split_rows {
  using Shared = no_shared;
  static constexpr unsigned threads = 256;

  float const* x;
  std::int64_t x_stride;
  float const* weights;  // [rows] or null
  std::int32_t k;        // weights lie [tokens, k] with `weight_stride`
  std::int64_t weight_stride;
  std::int32_t pairs_per_row;
  std::int32_t columns;  // a multiple of 8; of a plane `plane_width(columns)`
  std::int64_t count;    // of groups of 4
  std::uint16_t* planes;
  std::int64_t part_stride;

  CULL_EXEC_CHECK_OFF
  template <thread_context C>
  CULL_HD void operator()(C const& c, Shared&) const {
    auto const i = static_cast<std::int64_t>(c.block()) * threads + c.thread();
    bool const inside = i < count;
    auto const mask = c.ballot(inside, all_lanes);
    if (!inside) return;
    auto const width = plane_width(columns);
    auto const row = i / (width / 4);
    auto const column = i % (width / 4) * 4;
    pack<float, 4> got{};
    if (column < columns) got = c.load(reinterpret_cast<pack<float, 4> const*>(x + row / pairs_per_row * x_stride + column));
    float const factor = weights != nullptr && column < columns ? c.load(weights + row / k * weight_stride + row % k) : 1.0f;
    float mine[4];
    for (int j = 0; j < 4; ++j) mine[j] = weights != nullptr ? factor * got[j] : got[j];
    // The even thread has elements 0..3 and stores 0 4 1 5, the odd one 4..7 and stores 2 6 3 7.
    bool const odd = c.thread() % 2 != 0;
    float const first = c.shuffle_xor(odd ? mine[0] : mine[2], 1u, mask);
    float const second = c.shuffle_xor(odd ? mine[1] : mine[3], 1u, mask);
    float values[4] = {odd ? first : mine[0], odd ? mine[2] : first, odd ? second : mine[1], odd ? mine[3] : second};
    store_split<Parts>(c, planes + row * width + column, part_stride, values);
  }
};

}  // namespace simt

CULL_NAMESPACE_END
