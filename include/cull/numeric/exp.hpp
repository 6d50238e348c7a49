// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// 2^(fraction / 2^32) in units of 2^-32, for fraction in [0, 2^32): Taylor series in integers, error below 2^-28.
CULL_HD constexpr std::uint64_t exp2_fraction(std::uint64_t fraction) noexcept {
  constexpr std::uint64_t coefficients[] = {  // (ln 2)^k / k! * 2^32, highest first
      0x2, 0x1e, 0x1b5, 0x162c, 0xffe6, 0xa1849,
      0x576200, 0x276556e, 0xe35846c, 0x3d7f7bff, 0xb17217f8, 0x100000000};
  std::uint64_t sum = coefficients[0];
  for (int k = 1; k < 12; ++k) sum = coefficients[k] + ((sum * fraction) >> 32);
  return sum;
}

/// value / 2^bits, to the nearest, ties to even.
CULL_HD constexpr std::uint64_t round_shift(std::uint64_t value, int bits) noexcept {
  auto const quotient = value >> bits;
  auto const rest = value - (quotient << bits);
  auto const half = std::uint64_t{1} << (bits - 1);
  return quotient + ((rest > half || (rest == half && (quotient & 1u))) ? 1u : 0u);
}

}  // namespace detail

/// e^x in integer arithmetic: the same bits for every compiler, flag and backend. Within 0.52 ulp of the exact value, subnormal
/// results included; overflows to infinity above 88.7228, NaN stays NaN.
CULL_HD constexpr float exp_f32(float x) noexcept {
  auto const word = __builtin_bit_cast(std::uint32_t, x);
  auto const magnitude = word & 0x7fffffffu;
  bool const negative = (word >> 31) != 0;
  if (magnitude > 0x7f800000u) return x;
  if (magnitude > 0x42d00000u) return negative ? 0.0f : __builtin_bit_cast(float, 0x7f800000u);  // |x| > 104
  if (magnitude < 0x31800000u) return 1.0f;                                               // |x| < 2^-28
  // x * log2(e) in units of 2^-32: 24 bits of x times log2(e) * 2^39 fill one 64-bit word.
  int const shift = 157 - static_cast<int>(magnitude >> 23);
  std::uint64_t const product = ((magnitude & 0x7fffffu) | 0x800000u) * std::uint64_t{0xb8aa3b295cu};
  auto const scaled = static_cast<std::int64_t>(shift < 64 ? product >> shift : 0);
  auto const t = negative ? -scaled : scaled;
  int const exponent = static_cast<int>(t >> 32);
  auto const significand = detail::exp2_fraction(static_cast<std::uint64_t>(t) & 0xffffffffu);  // [2^32, 2^33)
  if (exponent > 127) return __builtin_bit_cast(float, 0x7f800000u);
  if (exponent < -126) return __builtin_bit_cast(float, static_cast<std::uint32_t>(detail::round_shift(significand, -117 - exponent)));
  auto const mantissa = static_cast<std::uint32_t>(detail::round_shift(significand, 9));
  return __builtin_bit_cast(float, (static_cast<std::uint32_t>(exponent + 126) << 23) + mantissa);
}

/// 1 / (1 + e^-x), in the order torch computes it.
CULL_HD constexpr float sigmoid_f32(float x) noexcept { return 1.0f / (1.0f + exp_f32(-x)); }

/// x / (1 + e^-x), in the order torch computes it.
CULL_HD constexpr float silu_f32(float x) noexcept { return x / (1.0f + exp_f32(-x)); }

CULL_NAMESPACE_END
