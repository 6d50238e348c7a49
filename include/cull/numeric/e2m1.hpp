// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// 4-bit float of NVFP4 and MXFP4 (OCP MX 1.0): sign, 2 exponent bits, 1 mantissa bit; no infinity, no NaN.
/// Magnitudes 0, 0.5, 1, 1.5, 2, 3, 4, 6; only the low four of `bits` are used. Code 0x8 is negative zero.
struct e2m1 {
  std::uint8_t bits;

  /// Nearest code, ties to even, saturating; NaN becomes 0x7. Equal to `cuda_fp4.h` on all 2^32 floats.
  CULL_HD static constexpr e2m1 encode(float value) noexcept {
    auto const word = __builtin_bit_cast(std::uint32_t, value);
    if ((word & 0x7fffffffu) > 0x7f800000u) return {7};
    float const a = __builtin_bit_cast(float, word & 0x7fffffffu);
    int const magnitude = (a > 0.25f) + (a >= 0.75f) + (a > 1.25f) + (a >= 1.75f) + (a > 2.5f) + (a >= 3.5f) + (a > 5.0f);
    return {static_cast<std::uint8_t>(((word >> 28) & 8u) | static_cast<unsigned>(magnitude))};
  }

  CULL_HD constexpr float decode() const noexcept {
    std::uint32_t const m = bits & 7u;
    // From code 2 on, exponent and mantissa lie as in f32; 0 and 0.5 have no such pattern.
    std::uint32_t const magnitude = m >= 2 ? 0x3f000000u + (m << 22) : m * 0x3f000000u;
    return __builtin_bit_cast(float, magnitude | (static_cast<std::uint32_t>(bits & 8u) << 28));
  }

  friend constexpr bool operator==(e2m1, e2m1) = default;
};

/// `bytes` bytes of codes, low nibble first, times `factor`, one rounding each: writes 2 * `bytes` values.
CULL_HD constexpr void decode_e2m1_pairs(std::uint8_t const* codes, std::int64_t bytes, float factor, float* out) noexcept {
  for (std::int64_t i = 0; i < bytes; ++i) {
    out[2 * i] = e2m1{static_cast<std::uint8_t>(codes[i] & 15u)}.decode() * factor;
    out[2 * i + 1] = e2m1{static_cast<std::uint8_t>(codes[i] >> 4)}.decode() * factor;
  }
}

CULL_NAMESPACE_END
