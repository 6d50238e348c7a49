// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/stored_values.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// Scales of a whole tensor or expert: one number, or one for each expert.
inline bool is_tensor_scale(tensor_info const& t) {
  return t.name.ends_with("weight_scale_2") || t.name.ends_with("input_scale") || t.name.ends_with("global_scale");
}
/// Scales of blocks or rows.
inline bool is_block_scale(tensor_info const& t) {
  bool const named = t.name.ends_with("_scale") || t.name.ends_with("_scales") || t.name.ends_with("_scale_inv");
  return named && !is_tensor_scale(t);
}

/// What is wrong with numbers that must be finite and above 0; empty: nothing.
inline std::string fault_of(std::span<float const> values) {
  for (float const v : values) {
    if (std::isnan(v)) return "holds NaN";
    if (std::isinf(v)) return "holds infinity";
    if (std::signbit(v)) return "holds a negative number";
    if (v == 0) return "holds 0";
  }
  return {};
}

/// The same of a scale tensor in any format; blocks of zeros have the E4M3 scale 0, which is right.
inline std::string fault_of(checkpoint const& model, tensor_info const& t) {
  auto const any = [bytes = model.bytes(t)](auto&& holds) { return std::any_of(bytes.begin(), bytes.end(), holds); };
  switch (t.type) {
    case dtype::f32:
    case dtype::bf16:
    case dtype::f16: {
      auto const values = plain_values({&t, model.bytes(t)});
      return fault_of(std::span<float const>{values});
    }
    case dtype::f8_e4m3:
      if (any([](std::byte b) { return (b & std::byte{0x7f}) == std::byte{0x7f}; })) return "holds NaN";
      return any([](std::byte b) { return (b & std::byte{0x80}) != std::byte{}; }) ? "holds a scale with a sign" : std::string{};
    case dtype::u8:
    case dtype::f8_e8m0:
      return any([](std::byte b) { return b == std::byte{0xff}; }) ? "holds NaN" : std::string{};
    default:
      return {};
  }
}

}  // namespace detail
CULL_NAMESPACE_END
