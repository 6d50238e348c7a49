// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// Elements of each group of 8 in the order in which the decoder below pairs them: position p holds element `paired_element(p)`,
/// 0 4 1 5 2 6 3 7. Activations of the tile kernels lie so in memory.
CULL_HD constexpr int paired_element(int p) { return p / 2 + 4 * (p % 2); }

/// NVFP4 weights of the tile kernels are code * block scale * 2^-14: the outer factor of their sums is multiplied by this.
inline constexpr double nvfp4_tile_unit = 16384.0;

/// The e4m3 scale, sign-extended, times 2^112, to be put twice in one register of two bf16; exact, 4 significant bits. NaN stays
/// NaN.
CULL_HD inline float raised_scale(std::int8_t e4m3_bits) {
  auto const word = static_cast<std::uint32_t>(static_cast<std::int32_t>(e4m3_bits));
  // As the upper bits of an f32 it reads scale * 2^-120, subnormal or not; two factors stay within f32's range.
  float const raised = __builtin_bit_cast(float, (word << 20) & 0x87f00000u) * 0x1p+116f * 0x1p+116f;
  return (word & 0x7fu) == 0x7fu ? __builtin_bit_cast(float, 0x7fc00000u) : raised;
}

/// 8 codes to 4 registers of two bf16, element i beside element i + 4, each code * 2^-126 * the scale: exact, as code and scale
/// have 6 significant bits between them. A code's 3 magnitude bits, put at the border of bf16's exponent and mantissa, read as
/// that number, subnormal or not. `multiply` is the exact product of two pairs of bf16. 19 instructions without a table or a
/// conversion; Blackwell's own conversion gives f16, from where to bf16 it is as far.
template <class Multiply>
CULL_HD inline void decode_8(std::uint32_t codes, std::uint32_t scale, std::uint32_t (&out)[4], Multiply multiply) {
  CULL_UNROLL_FULLY
  for (int i = 0; i < 4; ++i) {
    int const sign_shift = 12 - 4 * i;
    auto const signs = (codes << sign_shift) & 0x80008000u;
    auto const magnitudes = (sign_shift >= 6 ? codes << (sign_shift - 6) : codes >> (6 - sign_shift)) & 0x01c001c0u;
    out[i] = multiply(signs | magnitudes, scale);
  }
}

}  // namespace simt

CULL_NAMESPACE_END
