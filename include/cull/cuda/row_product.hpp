// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cuda/context.hpp>
#include <cull/cuda/decode_block.hpp>
#include <cull/cuda/expert_table.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// Two rows of NVFP4 weights times up to `tokens` rows of f32 by one warp: the main loop of the latency kernels, bound by reading
/// the weights once. Lane l has the blocks of 16 columns l, l + 32, ...
///
/// Order of summation, whatever the tile and its company: in a block four chains of f32 FMA over columns i, i + 4, i + 8, i + 12
/// of code * x, joined as (0 + 1) + (2 + 3), the block scale times that added by FMA to the lane's sum; lanes joined as a tree by
/// halves. |error| <= (K / 512 + 12) * 2^-24 * 1.01 * sum |w x|.
struct row_product {
  static constexpr int tokens = 4;

  CULL_EXEC_CHECK_OFF
  template <thread_context C>
  CULL_HD static void run(C const& c, int k, nvfp4_rows const& first, std::int64_t first_row, nvfp4_rows const& second,
                          std::int64_t second_row, float const* const (&x)[tokens], int count, float (&sums)[2][tokens]) {
    std::uint8_t const* const codes[2] = {first.codes + first_row * first.code_stride,
                                          second.codes + second_row * second.code_stride};
    std::uint8_t const* const scales[2] = {first.scales + first_row * first.scale_stride,
                                           second.scales + second_row * second.scale_stride};
    for (int block = static_cast<int>(c.lane()); block < k / 16; block += 32) {
      float values[2][16], scale[2];
      CULL_UNROLL_FULLY
      for (int r = 0; r < 2; ++r) {
        auto const words = c.load(reinterpret_cast<pack<std::uint32_t, 2> const*>(codes[r] + block * 8), streamed{});
        scale[r] = scale_value(c.load(scales[r] + block, streamed{}));
        decode_16(c, words, values[r]);
      }
      CULL_UNROLL_FULLY
      for (int t = 0; t < tokens; ++t) {
        if (t < count) add_block(c, x[t] + block * 16, values, scale, sums, t);
      }
    }
    CULL_UNROLL_FULLY
    for (int r = 0; r < 2; ++r) {
      CULL_UNROLL_FULLY
      for (int t = 0; t < tokens; ++t) {
        for (unsigned bits = 16; bits != 0; bits /= 2) sums[r][t] += c.shuffle_xor(sums[r][t], bits, all_lanes);
      }
    }
  }

  /// The sums of token `t`, if a lane has one of its own.
  CULL_HD static pack<float, 2> of(float const (&sums)[2][tokens], int t) {
    pack<float, 2> out{{sums[0][0], sums[1][0]}};
    CULL_UNROLL_FULLY
    for (int i = 1; i < tokens; ++i) {
      if (t == i) out = {{sums[0][i], sums[1][i]}};
    }
    return out;
  }

 private:
  /// e4m3 as f32, exact; NaN stays NaN.
  CULL_HD static float scale_value(std::uint8_t bits) { return raised_scale(static_cast<std::int8_t>(bits)) * 0x1p-112f; }

  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void decode_16(C const& c, pack<std::uint32_t, 2> const& words, float (&out)[16]) {
    CULL_UNROLL_FULLY
    for (int h = 0; h < 2; ++h) {
      std::uint32_t pairs[4];
      c.unpack_e2m1(words[h], pairs);
      CULL_UNROLL_FULLY
      for (int i = 0; i < 4; ++i) {
        out[8 * h + 2 * i] = c.f32_of_f16(static_cast<std::uint16_t>(pairs[i] & 0xffffu));
        out[8 * h + 2 * i + 1] = c.f32_of_f16(static_cast<std::uint16_t>(pairs[i] >> 16));
      }
    }
  }

  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void add_block(C const& c, float const* x, float const (&values)[2][16], float const (&scale)[2],
                                float (&sums)[2][tokens], int t) {
    float chains[2][4] = {};
    CULL_UNROLL_FULLY
    for (int j = 0; j < 4; ++j) {
      auto const four = c.load(reinterpret_cast<pack<float, 4> const*>(x + 4 * j));
      CULL_UNROLL_FULLY
      for (int r = 0; r < 2; ++r) {
        CULL_UNROLL_FULLY
        for (int i = 0; i < 4; ++i) chains[r][i] = c.fma(values[r][4 * j + i], four[i], chains[r][i]);
      }
    }
    CULL_UNROLL_FULLY
    for (int r = 0; r < 2; ++r) {
      sums[r][t] = c.fma(scale[r], (chains[r][0] + chains[r][1]) + (chains[r][2] + chains[r][3]), sums[r][t]);
    }
  }
};

}  // namespace simt

CULL_NAMESPACE_END
