// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include <cull/config.hpp>
#include <cull/numeric/bf16.hpp>
#include <cull/tensor/matrix.hpp>

CULL_NAMESPACE_BEGIN

/// Where an unquantised matrix lies: row-major values of a plain type, rows `stride` elements apart, at any alignment.
struct plain_parts {
  void const* data = nullptr;
  std::int64_t stride = 0;
};

/// Unquantised bf16 storage.
struct bf16_format {
  using parts = plain_parts;
  static constexpr std::int64_t group = 1;

  CULL_HD static void decode_group(parts const& p, std::int64_t row, std::int64_t column, float* out) noexcept {
    bf16 value;  // copied, since a mapped file promises no alignment
    std::memcpy(&value, static_cast<unsigned char const*>(p.data) + 2 * (row * p.stride + column), 2);
    *out = value.decode();
  }
  CULL_HD static float outer_scale(parts const&) noexcept { return 1.0f; }
};

/// Unquantised f32 storage.
struct f32_format {
  using parts = plain_parts;
  static constexpr std::int64_t group = 1;

  CULL_HD static void decode_group(parts const& p, std::int64_t row, std::int64_t column, float* out) noexcept {
    std::memcpy(out, static_cast<unsigned char const*>(p.data) + 4 * (row * p.stride + column), 4);
  }
  CULL_HD static float outer_scale(parts const&) noexcept { return 1.0f; }
};

static_assert(matrix_format<bf16_format> && matrix_format<f32_format>);

CULL_NAMESPACE_END
