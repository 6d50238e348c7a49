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

/// As `e4m3::decode`, where the hardware has no conversion: as the upper bits of an f32 a code reads value * 2^-120, subnormal or
/// not.
CULL_HD inline float decode_e4m3_by_product(std::uint8_t code) {
  auto const word = static_cast<std::uint32_t>(static_cast<std::int32_t>(static_cast<std::int8_t>(code)));
  float const value = __builtin_bit_cast(float, (word << 20) & 0x87f00000u) * 0x1p+120f;
  return (word & 0x7fu) == 0x7fu ? __builtin_bit_cast(float, 0x7fc00000u) : value;
}

/// Two e8m0 scales, in the lower bytes of the halves, to bf16: 2^(scale - 127), the smallest subnormal, 255 NaN.
CULL_HD constexpr std::uint32_t bf16x2_of_e8m0(std::uint32_t pair) {
  auto const not_zero = pair + 0x00ff00ffu, nan = pair + 0x00010001u;  // in bit 8 of each half
  return pair << 7 | ((~not_zero | nan) & 0x01000100u) >> 2;
}

CULL_HD constexpr std::uint32_t rotated_left(std::uint32_t word, int bits) { return (word << bits) | (word >> (32 - bits)); }

/// 8 codes to 4 registers of two bf16, element i beside element i + 4, each code * 2^-126 * a factor, which `multiply` does. A
/// code's 3 magnitude bits, put at the border of bf16's exponent and mantissa, read as that number, subnormal or not.
///
/// 10 instructions and 4 products. There a sign lies 9 bits above its magnitude, in a code 3: beside the codes turned by 6 the
/// signs of half of the codes are in place at once, and then one turn and one mask finish a register. The merges are the
/// context's, as compilers make two instructions of each.
CULL_EXEC_CHECK_OFF
template <class C, class Multiply>
CULL_HD inline void decode_8(C const& c, std::uint32_t codes, std::uint32_t (&out)[4], Multiply multiply) {
  constexpr std::uint32_t bf16_bits = 0x81c081c0u;
  auto const turned = rotated_left(codes, 26);
  auto const lower = c.merge_bits(0x00880088u, codes, turned);  // elements 0, 1, 4, 5
  auto const upper = c.merge_bits(0x88008800u, codes, turned);  // elements 2, 3, 6, 7
  out[0] = multiply(rotated_left(lower, 12) & bf16_bits);
  out[1] = multiply(rotated_left(lower, 8) & bf16_bits);
  out[2] = multiply(rotated_left(upper, 4) & bf16_bits);
  out[3] = multiply(upper & bf16_bits);
}

}  // namespace simt

CULL_NAMESPACE_END
