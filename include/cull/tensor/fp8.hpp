// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include <cull/config.hpp>
#include <cull/numeric/e4m3.hpp>
#include <cull/tensor/matrix.hpp>

CULL_NAMESPACE_BEGIN

/// FP8 with one f32 scale per `BlockRows` x `BlockCols` square, the last ones cut off at the edges: DeepSeek's `weight`
/// (e4m3 [rows, cols]) and `weight_scale_inv` (f32 [ceil(rows / 128), ceil(cols / 128)]), which despite its name multiplies.
///
/// Value = code * scale, one f32 product: the format's own definition (as DeepSeek and transformers dequantise), not exact in
/// general. It is what `decode_group` gives, and what products are made of. Columns must be a multiple of 8.
template <std::int64_t BlockRows = 128, std::int64_t BlockCols = 128>
struct fp8_block {
  /// Row r lies in stored row s = first_row + r * row_step; its code of column c at `s * stride + c * column_stride`, its scale
  /// at `(s / BlockRows) * scale_stride + (c / BlockCols) * scale_column_stride` (elements). Row-major:
  /// {codes, scales, cols, ceil(cols / 128)}; transposed: {codes, scales, 1, 1, rows, ceil(rows / 128)}; one scale per row:
  /// BlockRows 1 with {codes, scales, cols, 1, 1, 0}.
  struct parts {
    std::uint8_t const* codes = nullptr;
    void const* scales = nullptr;  // f32, at any alignment
    std::int64_t stride = 0;
    std::int64_t scale_stride = 0;
    std::int64_t column_stride = 1;
    std::int64_t scale_column_stride = 1;
    std::int64_t first_row = 0;
    std::int64_t row_step = 1;
  };
  static constexpr std::int64_t group = 8;
  static_assert(BlockRows > 0 && BlockCols > 0 && BlockCols % group == 0, "a group must not cross a square's edge");

  CULL_HD static void decode_group(parts const& p, std::int64_t row, std::int64_t g, float* out) noexcept {
    auto const stored = p.first_row + row * p.row_step;
    float const factor = scale(p, (stored / BlockRows) * p.scale_stride + (g * group / BlockCols) * p.scale_column_stride);
    std::uint8_t const* codes = p.codes + stored * p.stride + g * group * p.column_stride;
    for (int i = 0; i < group; ++i) out[i] = e4m3{codes[i * p.column_stride]}.decode() * factor;
  }
  CULL_HD static float outer_scale(parts const&) noexcept { return 1.0f; }

 private:
  CULL_HD static float scale(parts const& p, std::int64_t index) noexcept {
    float value;  // copied, since a mapped file promises no alignment
    std::memcpy(&value, static_cast<unsigned char const*>(p.scales) + 4 * index, 4);
    return value;
  }
};

/// FP8 with one f32 scale per tensor (modelopt's `weight` and `weight_scale`): value = code * scale. Columns a multiple of 8.
/// `decode_group` gives the code's value, which bf16 holds exactly; rows are `stride`, columns `column_stride` bytes apart.
struct fp8_tensor {
  struct parts {
    std::uint8_t const* codes = nullptr;
    std::int64_t stride = 0;
    float scale = 1.0f;
    std::int64_t column_stride = 1;
  };
  static constexpr std::int64_t group = 8;

  CULL_HD static void decode_group(parts const& p, std::int64_t row, std::int64_t g, float* out) noexcept {
    std::uint8_t const* codes = p.codes + row * p.stride + g * group * p.column_stride;
    for (int i = 0; i < group; ++i) out[i] = e4m3{codes[i * p.column_stride]}.decode();
  }
  CULL_HD static float outer_scale(parts const& p) noexcept { return p.scale; }
};

static_assert(matrix_format<fp8_block<>> && matrix_format<fp8_tensor>);

CULL_NAMESPACE_END
