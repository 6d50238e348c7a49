// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include <cull/checkpoint/matrix_site.hpp>
#include <cull/config.hpp>
#include <cull/numeric/bf16.hpp>
#include <cull/numeric/f16.hpp>

CULL_NAMESPACE_BEGIN

static_assert(std::endian::native == std::endian::little, "cull: checkpoints are little endian and used where they lie");

namespace detail {

template <class Number>
std::vector<float> decoded_values(std::span<std::byte const> bytes) {
  std::vector<float> out(bytes.size() / sizeof(Number));
  for (std::size_t i = 0; i < out.size(); ++i) {
    Number value;
    std::memcpy(&value, bytes.data() + sizeof(Number) * i, sizeof(Number));
    out[i] = value.decode();
  }
  return out;
}

/// f32 values of (a part of) an F32, BF16 or F16 tensor.
inline std::vector<float> plain_values(tensor_data const& t, std::span<std::byte const> bytes) {
  if (t.info->type == dtype::bf16) return decoded_values<bf16>(bytes);
  if (t.info->type == dtype::f16) return decoded_values<f16>(bytes);
  if (t.info->type != dtype::f32) t.refuse("holds " + std::string{name(t.info->type)} + ", wanted are F32, BF16 or F16 values");
  std::vector<float> out(bytes.size() / 4);
  if (!out.empty()) std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}
inline std::vector<float> plain_values(tensor_data const& t) { return plain_values(t, t.bytes); }

}  // namespace detail

CULL_NAMESPACE_END
