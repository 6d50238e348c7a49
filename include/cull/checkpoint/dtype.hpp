// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// Element types of the safetensors format, in its alignment order (smallest first).
enum class dtype : std::uint8_t {
  boolean,
  f4,
  f6_e2m3,
  f6_e3m2,
  u8,
  i8,
  f8_e5m2,
  f8_e4m3,
  f8_e8m0,
  f8_e4m3fnuz,
  f8_e5m2fnuz,
  i16,
  u16,
  f16,
  bf16,
  i32,
  u32,
  f32,
  c64,
  f64,
  i64,
  u64
};

namespace detail {

struct dtype_row {
  std::string_view name;
  int bits;
};

inline constexpr std::array<dtype_row, 22> dtype_table{{
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6},     {"U8", 8},          {"I8", 8},
    {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}, {"I16", 16},
    {"U16", 16},    {"F16", 16},    {"BF16", 16},   {"I32", 32},        {"U32", 32},        {"F32", 32},
    {"C64", 64},    {"F64", 64},    {"I64", 64},    {"U64", 64},
}};

}  // namespace detail

/// The name in files, such as "F8_E4M3".
constexpr std::string_view name(dtype type) { return detail::dtype_table[static_cast<std::size_t>(type)].name; }
/// Bits of one element: 4, 6, 8, 16, 32 or 64.
constexpr int bits(dtype type) { return detail::dtype_table[static_cast<std::size_t>(type)].bits; }

/// The type of that name (case-sensitive), if there is one.
constexpr std::optional<dtype> dtype_by_name(std::string_view text) {
  for (std::size_t i = 0; i < detail::dtype_table.size(); ++i) {
    if (detail::dtype_table[i].name == text) return static_cast<dtype>(i);
  }
  return std::nullopt;
}

CULL_NAMESPACE_END
