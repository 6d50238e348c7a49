// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include <cull/config.hpp>
#include <cull/numeric/bf16.hpp>
#include <cull/numeric/e2m1.hpp>
#include <cull/numeric/e4m3.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// The 16 values of e2m1.
inline constexpr auto e2m1_values = [] {
  std::array<float, 16> out{};
  for (unsigned code = 0; code < 16; ++code) out[code] = e2m1{static_cast<std::uint8_t>(code)}.decode();
  return out;
}();

/// The third and the fourth byte of the 16 values as f32; the lower two are zero. Twice, as shuffles within 128 bits want them.
struct alignas(32) e2m1_byte_tables {
  std::uint8_t lower[32];
  std::uint8_t upper[32];
};
inline constexpr e2m1_byte_tables e2m1_bytes = [] {
  e2m1_byte_tables out{};
  for (unsigned i = 0; i < 32; ++i) {
    auto const half = bf16::encode(e2m1_values[i % 16]).bits;
    out.lower[i] = static_cast<std::uint8_t>(half & 0xffu);
    out.upper[i] = static_cast<std::uint8_t>(half >> 8);
  }
  return out;
}();

/// The 256 values of e4m3.
inline constexpr auto e4m3_values = [] {
  std::array<float, 256> out{};
  for (unsigned bits = 0; bits < 256; ++bits) out[bits] = e4m3{static_cast<std::uint8_t>(bits)}.decode();
  return out;
}();

/// Per block scale the 16 products with e2m1's values as bf16, which holds them exactly.
struct alignas(64) scaled_codes {
  std::uint16_t values[256][16];
};
inline constexpr scaled_codes bf16_of_scaled_codes = [] {
  constexpr std::uint16_t nan = 0x7fc0;
  scaled_codes out{};
  for (unsigned bits = 0; bits < 256; ++bits) {
    for (unsigned code = 0; code < 16; ++code) {
      // Arithmetic that gives NaN is no constant.
      bool const number = (bits & 0x7fu) != 0x7fu;
      out.values[bits][code] = number ? bf16::encode(e2m1_values[code] * e4m3_values[bits]).bits : nan;
    }
  }
  return out;
}();

/// The same products as f32.
struct alignas(64) scaled_f32_codes {
  float values[256][16];
};
inline constexpr scaled_f32_codes f32_of_scaled_codes = [] {
  scaled_f32_codes out{};
  for (unsigned bits = 0; bits < 256; ++bits) {
    for (unsigned code = 0; code < 16; ++code) out.values[bits][code] = bf16{bf16_of_scaled_codes.values[bits][code]}.decode();
  }
  return out;
}();

}  // namespace detail

CULL_NAMESPACE_END
