// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cuda/context.hpp>
#include <cull/cuda/decode_block.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// The weights of a thread's registers in a step of two m16n8k16: `[16 rows][16 columns][register]`, in odd registers the upper
/// 8 rows.
using weight_registers = std::uint32_t[2][2][4];

/// Decoders: 8 codes of a block to registers, by what their scale makes a factor of bf16. Factors come in pairs, those of two
/// rows or those of a row's blocks in two stages: `factors_of_turn` takes all scales that four rows have in the two, as words,
/// for lane `quad` of four, whose blocks they are.
struct nvfp4_decoder {
  static constexpr int turn_words = 2;
  struct turn_factors {
    std::uint32_t of[4];
  };

  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static std::uint32_t factors_of_rows(C const& c, std::uint8_t scale, std::uint8_t other) {
    return factors_of(c, scale + other * 0x100u);
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static turn_factors factors_of_turn(C const& c, std::uint32_t const (&scales)[4][turn_words], std::uint32_t quad) {
    turn_factors out;
    CULL_UNROLL_FULLY
    for (int i = 0; i < 4; ++i) {
      out.of[i] = factors_of(c, c.permute_bytes(scales[i][0], scales[i][1], quad * 0x11u + 0x40u));
    }
    return out;
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void decode(C const& c, std::uint32_t codes, std::uint32_t factor, std::uint32_t (&out)[4]) {
    decode_8(c, codes, out, [&](std::uint32_t x) { return c.multiply_bf16x2(x, factor); });
  }
  /// Whether these scales suit the decoder, in every lane's rows; if not, `careful` takes them.
  using careful = nvfp4_decoder;
  template <class C>
  CULL_HD static bool suits(C const&, std::uint32_t const (&)[4][turn_words]) {
    return true;
  }

 private:
  /// Of two scales in the lower bytes.
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static std::uint32_t factors_of(C const& c, std::uint32_t pair) {
    constexpr std::uint32_t two_to_112 = 0x77807780u;
    return c.multiply_bf16x2(c.decode_e4m3x2(pair), two_to_112);
  }
};

/// No factor of bf16 alone takes a code from where the decoder reads it to every value: two products do, exactly but for what is
/// infinity in f32 too, first to the code itself, then by the block's scale.
struct mxfp4_decoder {
  static constexpr int turn_words = 1;
  using turn_factors = nvfp4_decoder::turn_factors;

  template <class C>
  CULL_HD static std::uint32_t factors_of_rows(C const&, std::uint8_t scale, std::uint8_t other) {
    return bf16x2_of_e8m0(scale + other * 0x10000u);
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static turn_factors factors_of_turn(C const& c, std::uint32_t const (&scales)[4][turn_words], std::uint32_t quad) {
    turn_factors out;
    CULL_UNROLL_FULLY
    for (int i = 0; i < 4; ++i) out.of[i] = bf16x2_of_e8m0(pair_of(c, scales[i][0], quad));
    return out;
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void decode(C const& c, std::uint32_t codes, std::uint32_t factor, std::uint32_t (&out)[4]) {
    constexpr std::uint32_t two_to_126 = 0x7e807e80u;
    decode_8(c, codes, out, [&](std::uint32_t x) { return c.multiply_bf16x2(c.multiply_bf16x2(x, two_to_126), factor); });
  }

 protected:
  /// The scales of the lane's blocks, in the lower bytes of the halves.
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static std::uint32_t pair_of(C const& c, std::uint32_t scales, std::uint32_t quad) {
    return c.permute_bytes(scales, 0u, quad / 2 * 0x101u + 0x4240u);
  }
};

/// The same where decoding is what takes time: scales below 2, and trained weights have no others, need one product.
struct mxfp4_quick_decoder : mxfp4_decoder {
  using careful = mxfp4_decoder;

  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static bool suits(C const& c, std::uint32_t const (&scales)[4][turn_words]) {
    std::uint32_t const any = scales[0][0] | scales[1][0] | scales[2][0] | scales[3][0];
    return !c.any((any & 0x80808080u) != 0, all_lanes);
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static turn_factors factors_of_turn(C const& c, std::uint32_t const (&scales)[4][turn_words], std::uint32_t quad) {
    turn_factors out;
    CULL_UNROLL_FULLY
    for (int i = 0; i < 4; ++i) out.of[i] = pair_of(c, scales[i][0], quad) * 128u + 0x3f003f00u;  // 2^(scale - 1)
    return out;
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void decode(C const& c, std::uint32_t codes, std::uint32_t factor, std::uint32_t (&out)[4]) {
    nvfp4_decoder::decode(c, codes, factor, out);
  }
};

}  // namespace simt

CULL_NAMESPACE_END
