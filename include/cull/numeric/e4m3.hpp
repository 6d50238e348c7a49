// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// 8-bit float of NVFP4's block scales (OCP FP8 E4M3, "fn"): bias 7, largest 448, smallest 2^-9, no infinity, NaN 0x7f and 0xff.
struct e4m3 {
  std::uint8_t bits;

  static constexpr float max = 448.0f;

  /// Nearest code, ties to even, saturating at +-448; NaN becomes 0x7f. Equal to `cuda_fp8.h` with SATFINITE.
  CULL_HD static constexpr e4m3 encode(float value) noexcept {
    auto const word = __builtin_bit_cast(std::uint32_t, value);
    auto const magnitude = word & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return {0x7f};
    auto const sign = (word >> 24) & 0x80u;
    return {static_cast<std::uint8_t>(sign | encode_magnitude(magnitude))};
  }

  CULL_HD constexpr float decode() const noexcept {
    std::uint32_t const exponent = (bits >> 3) & 15u;
    std::uint32_t const mantissa = bits & 7u;
    std::uint32_t const sign = static_cast<std::uint32_t>(bits & 0x80u) << 24;
    if ((bits & 0x7fu) == 0x7fu) return __builtin_bit_cast(float, sign | 0x7fc00000u);
    if (exponent == 0) {
      float const subnormal = static_cast<float>(mantissa) * 0x1p-9f;
      return __builtin_bit_cast(float, sign | __builtin_bit_cast(std::uint32_t, subnormal));
    }
    return __builtin_bit_cast(float, sign | ((exponent + 120u) << 23) | (mantissa << 20));
  }

  CULL_HD constexpr bool is_nan() const noexcept { return (bits & 0x7fu) == 0x7fu; }

  friend constexpr bool operator==(e4m3, e4m3) = default;

 private:
  CULL_HD static constexpr std::uint32_t encode_magnitude(std::uint32_t word) noexcept {
    if (word < 0x3c800000u) {  // below 2^-6: adding 2^23 rounds to whole multiples of 2^-9
      return __builtin_bit_cast(std::uint32_t, __builtin_bit_cast(float, word) * 512.0f + 8388608.0f) & 0xffu;
    }
    auto const rounded = word + 0x7ffffu + ((word >> 20) & 1u);
    auto const code = (rounded >> 20) - (120u << 3);
    return code < 0x7eu ? code : 0x7eu;
  }
};

CULL_NAMESPACE_END
