// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// IEEE-754 binary16 as two bytes: sign, 5 exponent bits (bias 15), 10 mantissa bits; largest 65504, smallest 2^-24.
struct f16 {
  std::uint16_t bits;

  /// Nearest f16, ties to even, from 65520 on infinity; NaN stays NaN (quiet, sign and upper payload kept).
  CULL_HD static constexpr f16 encode(float value) noexcept {
    auto const word = __builtin_bit_cast(std::uint32_t, value);
    return {static_cast<std::uint16_t>(((word >> 16) & 0x8000u) | encode_magnitude(word & 0x7fffffffu))};
  }

  CULL_HD constexpr float decode() const noexcept {
    std::uint32_t const exponent = (bits >> 10) & 31u;
    std::uint32_t const mantissa = bits & 0x3ffu;
    std::uint32_t const sign = static_cast<std::uint32_t>(bits & 0x8000u) << 16;
    if (exponent == 0) {
      float const subnormal = static_cast<float>(mantissa) * 0x1p-24f;
      return __builtin_bit_cast(float, sign | __builtin_bit_cast(std::uint32_t, subnormal));
    }
    return __builtin_bit_cast(float, sign | ((exponent == 31 ? 255u : exponent + 112u) << 23) | (mantissa << 13));
  }

  friend constexpr bool operator==(f16, f16) = default;  // of bits, so that NaN equals itself

 private:
  CULL_HD static constexpr std::uint32_t encode_magnitude(std::uint32_t word) noexcept {
    if (word > 0x7f800000u) return 0x7e00u | ((word >> 13) & 0x3ffu);
    if (word >= 0x477ff000u) return 0x7c00u;
    if (word < 0x38800000u) {  // below 2^-14: adding 0.5 rounds to whole multiples of 2^-24
      return __builtin_bit_cast(std::uint32_t, __builtin_bit_cast(float, word) + 0.5f) - 0x3f000000u;
    }
    return ((word + 0xfffu + ((word >> 13) & 1u)) >> 13) - (112u << 10);
  }
};

CULL_NAMESPACE_END
