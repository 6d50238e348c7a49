// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cuda/context.hpp>
#include <cull/cuda/tile_weights.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// A stage's share of the sums of a warp: 32 weight rows of 64 columns times `Tokens` tokens with `mma.sync` m16n8k16.
///
/// Every code is decoded once, in registers, for all tokens. Weights are the left operand: it is computed, so that its four
/// registers lie where the instruction wants them, and the right one is loaded in place. A thread decodes whole blocks of 16
/// codes with their one scale: K is permuted within 64 columns so that block t of a row belongs to lane t of each four.
template <int Parts, int Tokens, class Decoder>
struct tile_step {
  using activations = pack<std::uint32_t, 4>[Parts][Tokens][8];  // unit u of 16 bytes of row r lies at u ^ (r & 1)
  /// Weight rows 16 m + lane / 4 (+ 8 for i >= 2) of the warp's 32, tokens 8 n + 2 (lane % 4) + i % 2.
  using accumulators = float[2][Tokens / 8][4];

  /// `factor(i)`: twice the factor of the lane's block of row lane / 4 + 8 i.
  CULL_EXEC_CHECK_OFF
  template <class C, class Factor>
  CULL_HD static void add(C const& c, tile_layout::codes const& stage, activations const& x, Factor const& factor,
                          accumulators& acc) {
    int const group = static_cast<int>(c.lane()) / 4, quad = static_cast<int>(c.lane()) % 4;
    pack<std::uint32_t, 2> codes[4];
    CULL_UNROLL_FULLY
    for (int i = 0; i < 4; ++i) codes[i] = c.load_shared(&stage[32 * static_cast<int>(c.warp()) + 8 * i + group][quad]);
    CULL_UNROLL_FULLY
    for (int half = 0; half < 2; ++half) {
      weight_registers w;
      CULL_UNROLL_FULLY
      for (int i = 0; i < 4; ++i) decode_row(c, codes[i][half], factor(i), w[i / 2], i % 2);
      CULL_UNROLL_FULLY
      for (int n = 0; n < Tokens / 8; ++n) {
        CULL_UNROLL_FULLY
        for (int part = 0; part < Parts; ++part) {
          auto const four = c.load_shared(&x[part][8 * n + group][(2 * quad + half) ^ (group & 1)]);
          CULL_UNROLL_FULLY
          for (int q = 0; q < 2; ++q) {
            std::uint32_t const b[2] = {four[2 * q], four[2 * q + 1]};
            CULL_UNROLL_FULLY
            for (int m = 0; m < 2; ++m) c.mma_m16n8k16_bf16(acc[m][n], w[m][q], b);
          }
        }
      }
    }
  }

  /// Sums to `to[token][weight row]`.
  CULL_EXEC_CHECK_OFF
  template <class C, int Stride>
  CULL_HD static void put(C const& c, float (&to)[Tokens][Stride], accumulators const& acc) {
    CULL_UNROLL_FULLY
    for (int m = 0; m < 2; ++m) {
      CULL_UNROLL_FULLY
      for (int n = 0; n < Tokens / 8; ++n) {
        CULL_UNROLL_FULLY
        for (int i = 0; i < 4; ++i) {
          auto const row = 32 * c.warp() + 16 * static_cast<unsigned>(m) + c.lane() / 4 + 8 * static_cast<unsigned>(i / 2);
          auto const token = 8 * static_cast<unsigned>(n) + 2 * (c.lane() % 4) + static_cast<unsigned>(i % 2);
          c.store_shared(&to[token][row], acc[m][n][i]);
        }
      }
    }
  }

 private:
  /// 8 codes of a block to the registers of two steps of 16 columns that belong to its row.
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void decode_row(C const& c, std::uint32_t codes, std::uint32_t factor, std::uint32_t (&w)[2][4], int upper) {
    std::uint32_t out[4];
    Decoder::decode(c, codes, factor, out);
    CULL_UNROLL_FULLY
    for (int i = 0; i < 4; ++i) w[i / 2][upper + 2 * (i % 2)] = out[i];
  }
};

}  // namespace simt

CULL_NAMESPACE_END
