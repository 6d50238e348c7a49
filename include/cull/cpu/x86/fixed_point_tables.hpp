// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include <cull/config.hpp>
#include <cull/cpu/x86/fixed_point.hpp>
#include <cull/cpu/x86/tables.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// Doubled codes plus the bias, four times, so that of six bits the lower four decide.
struct alignas(64) biased_code_table {
  std::uint8_t values[64];
};
inline constexpr biased_code_table biased_codes = [] {
  biased_code_table out{};
  for (unsigned i = 0; i < 64; ++i)
    out.values[i] = static_cast<std::uint8_t>(static_cast<int>(2 * e2m1_values[i % 16]) + fixed_point_unit<3>::bias);
  return out;
}();

/// Which of sixteen scale bytes goes to the upper byte of which lane's word; the lower byte is zero.
struct alignas(32) scale_order_table {
  std::uint8_t values[32];
};
inline constexpr scale_order_table scale_order = [] {
  scale_order_table out{};
  for (unsigned b = 0; b < 16; ++b) {
    auto const lane = static_cast<unsigned>(fixed_point_unit<3>::lane(b));
    out.values[2 * lane] = 0x80;
    out.values[2 * lane + 1] = static_cast<std::uint8_t>(b);
  }
  return out;
}();

}  // namespace detail

CULL_NAMESPACE_END

#endif
