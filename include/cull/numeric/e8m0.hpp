// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// Power-of-two scale of MX formats (OCP MX 1.0): value 2^(bits - 127), NaN 0xff; 0x00 is 2^-127, a subnormal of f32.
/// All encoders drop the sign, saturate (0 becomes 2^-127, infinity 2^127) and map NaN to 0xff.
struct e8m0 {
  std::uint8_t bits;

 private:
  // Before its users: clang 14 cannot evaluate them at compile time otherwise.
  /// `up(half, fraction, code)`: whether `fraction` of the step above `code` rounds up; `half` is the step's middle.
  template <class Up>
  CULL_HD static constexpr e8m0 rounded(float value, Up up) noexcept {
    auto const word = __builtin_bit_cast(std::uint32_t, value) & 0x7fffffffu;
    if (word > 0x7f800000u) return {0xff};
    if (word <= 0x00400000u) return {0};
    if (word < 0x00800000u) return {static_cast<std::uint8_t>(up(0x00200000u, word - 0x00400000u, 0u))};
    auto const code = word >> 23;
    auto const next = code + (up(0x00400000u, word & 0x7fffffu, code) ? 1u : 0u);
    return {static_cast<std::uint8_t>(next < 0xfeu ? next : 0xfeu)};
  }

 public:
  /// Nearest power of two by value; a tie (significand 1.5) goes to the even code.
  CULL_HD static constexpr e8m0 encode(float value) noexcept {
    return rounded(value, [](std::uint32_t twice_half, std::uint32_t fraction, std::uint32_t code) {
      return fraction > twice_half || (fraction == twice_half && (code & 1u));
    });
  }
  /// Largest power of two not above the value: `cuda_fp8.h` with cudaRoundZero.
  CULL_HD static constexpr e8m0 encode_floor(float value) noexcept {
    return rounded(value, [](std::uint32_t, std::uint32_t, std::uint32_t) { return false; });
  }
  /// Smallest power of two not below the value: `cuda_fp8.h` with cudaRoundPosInf.
  CULL_HD static constexpr e8m0 encode_ceil(float value) noexcept {
    return rounded(value, [](std::uint32_t, std::uint32_t fraction, std::uint32_t) { return fraction != 0; });
  }

  CULL_HD constexpr float decode() const noexcept {
    if (bits == 0xff) return __builtin_bit_cast(float, 0x7fc00000u);
    return __builtin_bit_cast(float, bits == 0 ? 0x00400000u : static_cast<std::uint32_t>(bits) << 23);
  }

  friend constexpr bool operator==(e8m0, e8m0) = default;
};

CULL_NAMESPACE_END
