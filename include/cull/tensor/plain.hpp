// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include <cull/config.hpp>
#include <cull/numeric/bf16.hpp>
#include <cull/numeric/f16.hpp>
#include <cull/tensor/matrix.hpp>

CULL_NAMESPACE_BEGIN

/// Where an unquantised matrix lies: values of a plain type at any alignment, rows `stride` and columns `column_stride` elements
/// apart. `[rows, cols]` row-major: {data, cols}; every second row of it: {data, 2 * cols}; stored `[cols, rows]`: {data, 1,
/// rows}.
struct plain_parts {
  void const* data = nullptr;
  std::int64_t stride = 0;
  std::int64_t column_stride = 1;

  template <class T>
  CULL_HD T load(std::int64_t row, std::int64_t column) const noexcept {
    T value;  // copied, since a mapped file promises no alignment
    auto const index = row * stride + column * column_stride;
    std::memcpy(&value, static_cast<unsigned char const*>(data) + static_cast<std::int64_t>(sizeof(T)) * index, sizeof(T));
    return value;
  }
};

/// Unquantised bf16 storage.
struct bf16_format {
  using parts = plain_parts;
  static constexpr std::int64_t group = 1;

  CULL_HD static void decode_group(parts const& p, std::int64_t row, std::int64_t column, float* out) noexcept {
    *out = p.load<bf16>(row, column).decode();
  }
  CULL_HD static float outer_scale(parts const&) noexcept { return 1.0f; }
};

/// Unquantised f16 storage.
struct f16_format {
  using parts = plain_parts;
  static constexpr std::int64_t group = 1;

  CULL_HD static void decode_group(parts const& p, std::int64_t row, std::int64_t column, float* out) noexcept {
    *out = p.load<f16>(row, column).decode();
  }
  CULL_HD static float outer_scale(parts const&) noexcept { return 1.0f; }
};

/// Unquantised f32 storage.
struct f32_format {
  using parts = plain_parts;
  static constexpr std::int64_t group = 1;

  CULL_HD static void decode_group(parts const& p, std::int64_t row, std::int64_t column, float* out) noexcept {
    *out = p.load<float>(row, column);
  }
  CULL_HD static float outer_scale(parts const&) noexcept { return 1.0f; }
};

static_assert(matrix_format<bf16_format> && matrix_format<f16_format> && matrix_format<f32_format>);

CULL_NAMESPACE_END
