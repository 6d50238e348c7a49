// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/serving/storage_scheme.hpp>
#include <cull/checkpoint/stored_values.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// Scales of a whole tensor or expert: one number, or one for each expert.
inline bool is_tensor_scale(tensor_info const& t) {
  return t.name.ends_with("weight_scale_2") || t.name.ends_with("input_scale") || t.name.ends_with("global_scale");
}
/// The format of the weights that a tensor holds the scales of blocks or rows of; nothing known where it is no such tensor, of
/// whatever name: what is learned may be called "per_dim_scale".
inline storage_scheme::kind block_scale_of(checkpoint const& model, tensor_info const& t) {
  static constexpr std::array<std::string_view, 7> suffixes{
      ".weight_scale_inv", "_weight_scale_inv", "_scale_inv", ".weight_scale", "_weight_scale", "_scales", "_scale"};
  for (auto const suffix : suffixes) {
    if (!t.name.ends_with(suffix) || is_tensor_scale(t)) continue;
    auto const stem = t.name.substr(0, t.name.size() - suffix.size());
    auto const find = [&](std::string_view other) { return model.find(stem + std::string{other}); };
    auto const scheme = scheme_of(suffix.front() == '_', find);
    if (!scheme.scales.empty() && scheme.scales.front() == suffix) return scheme.what;
  }
  return storage_scheme::kind::unknown;
}

/// Whether numbers have to be above 0 beside being finite: scales of packed integers need not.
enum class scale_range { above_0, finite };

/// What is wrong with numbers; empty: nothing.
inline std::string fault_of(std::span<float const> values, scale_range range = scale_range::above_0) {
  for (float const v : values) {
    if (std::isnan(v)) return "holds NaN";
    if (std::isinf(v)) return "holds infinity";
    if (range == scale_range::finite) continue;
    if (std::signbit(v)) return "holds a negative number";
    if (v == 0) return "holds 0";
  }
  return {};
}

/// The same of a scale tensor in any format; blocks of zeros have the E4M3 scale 0, which is right.
inline std::string fault_of(checkpoint const& model, tensor_info const& t, scale_range range = scale_range::above_0) {
  auto const any = [bytes = model.bytes(t)](auto&& holds) { return std::any_of(bytes.begin(), bytes.end(), holds); };
  switch (t.type) {
    case dtype::f32:
    case dtype::bf16:
    case dtype::f16: {
      auto const values = plain_values({&t, model.bytes(t)});
      return fault_of(std::span<float const>{values}, range);
    }
    case dtype::f8_e4m3:
      if (any([](std::byte b) { return (b & std::byte{0x7f}) == std::byte{0x7f}; })) return "holds NaN";
      if (range == scale_range::finite) return {};
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
