// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// bfloat16 as two bytes: the upper half of an IEEE-754 f32.
struct bf16 {
  std::uint16_t bits;

  /// Nearest bf16, ties to even; NaN stays NaN (quiet, sign kept).
  CULL_HD static constexpr bf16 encode(float value) noexcept {
    auto const word = __builtin_bit_cast(std::uint32_t, value);
    if ((word & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>((word >> 16) | 0x40u)};
    return {static_cast<std::uint16_t>((word + 0x7fffu + ((word >> 16) & 1u)) >> 16)};
  }
  CULL_HD constexpr float decode() const noexcept { return __builtin_bit_cast(float, static_cast<std::uint32_t>(bits) << 16); }

  friend constexpr bool operator==(bf16, bf16) = default;  // of bits, so that NaN equals itself
};

CULL_NAMESPACE_END
