// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// The e2m1 code of a number that is not NaN, to nearest, ties to even, saturating, where the hardware has no conversion;
/// `a` is its magnitude or 6, whichever is less. 7 instructions beside that.
CULL_HD inline std::uint32_t round_to_e2m1(float value, float a) {
  // e2m1 has steps of 1/2 below 2, of 1 below 4, of 2 above: added to 2^22 times the power of two below `a` (1 at least), the sum
  // ends in the number of steps n = 0..4. Its code is n + 2 * (log2 of the power). 6 steps more, an even number, make that
  // n + 2 * (exponent of the sum) modulo 8.
  auto const power = __builtin_bit_cast(std::uint32_t, a) & 0x7f800000u;
  auto const large = (power < 0x3f800000u ? 0x3f800000u : power) + (22u << 23) + 6u;
  auto const sum = __builtin_bit_cast(std::uint32_t, a + __builtin_bit_cast(float, large));
  auto const code = sum + (sum >> 22);
  return (code & 7u) | (__builtin_bit_cast(std::uint32_t, value) >> 28 & 8u);
}

}  // namespace detail

CULL_NAMESPACE_END
