// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/numeric/e2m1.hpp>
#include <cull/numeric/e4m3.hpp>
#include <cull/tensor/matrix.hpp>
#include <cull/tensor/scale_layout.hpp>

CULL_NAMESPACE_BEGIN

/// modelopt's dialect of NVFP4: the tensor scale `weight_scale_2` = amax / 2688 is a multiplier; value = code * (scale * tensor
/// scale).
struct modelopt {
  CULL_HD static constexpr float block_multiplier(float block_scale, float tensor_scale) noexcept {
    return block_scale * tensor_scale;
  }
  CULL_HD static constexpr float outer_scale(float tensor_scale) noexcept { return tensor_scale; }
};

/// compressed-tensors' dialect (`nvfp4-pack-quantized`): the tensor scale `weight_global_scale` = 2688 / amax is a divisor;
/// value = code * (scale / tensor scale), one division and one product in f32. Its reciprocal is no f32 in general, so the factor
/// of products is the nearest f64.
struct compressed_tensors {
  CULL_HD static constexpr float block_multiplier(float block_scale, float global_scale) noexcept {
    return block_scale / global_scale;
  }
  CULL_HD static constexpr double outer_scale(float global_scale) noexcept { return 1.0 / static_cast<double>(global_scale); }
};

/// NVFP4: `[rows, cols]` of e2m1 codes, two to a byte (low nibble first), one e4m3 scale per 16 columns, one f32 scale per
/// tensor.
///
/// `decode_group` gives code * block scale, which bf16 holds exactly; `dequantize_group` the dialect's own f32 value, bit for
/// bit. Rows of the matrix may be every `row_step`-th of the stored ones (gate and up interleaved: 2). Stored row f comes first
/// where `codes` points f * cols / 2 bytes further and `scales` `ScaleLayout::offset(f, 0, cols / 16)` further: with
/// `tiled_128x4` for f a multiple of 128, or f < row_step where row_step divides 32.
template <class Dialect, class ScaleLayout = linear>
struct nvfp4 {
  struct parts {
    std::uint8_t const* codes = nullptr;   // [rows, cols / 2]
    std::uint8_t const* scales = nullptr;  // ScaleLayout of [rows, cols / 16]
    float tensor_scale = 1.0f;
    std::int64_t cols = 0;
    std::int64_t row_step = 1;
  };
  using dialect = Dialect;
  using scale_layout = ScaleLayout;
  static constexpr std::int64_t group = 16;

  CULL_HD static void decode_group(parts const& p, std::int64_t row, std::int64_t g, float* out) noexcept {
    decode_scaled(p, row, g, block_scale(p, row, g), out);
  }
  CULL_HD static void dequantize_group(parts const& p, std::int64_t row, std::int64_t g, float* out) noexcept {
    decode_scaled(p, row, g, Dialect::block_multiplier(block_scale(p, row, g), p.tensor_scale), out);
  }
  CULL_HD static auto outer_scale(parts const& p) noexcept { return Dialect::outer_scale(p.tensor_scale); }

 private:
  CULL_HD static float block_scale(parts const& p, std::int64_t row, std::int64_t g) noexcept {
    return e4m3{p.scales[ScaleLayout::offset(row * p.row_step, g, p.cols / group)]}.decode();
  }
  CULL_HD static void decode_scaled(parts const& p, std::int64_t row, std::int64_t g, float factor, float* out) noexcept {
    decode_e2m1_pairs(p.codes + row * p.row_step * (p.cols / 2) + g * (group / 2), group / 2, factor, out);
  }
};

using nvfp4_modelopt = nvfp4<modelopt>;
using nvfp4_compressed = nvfp4<compressed_tensors>;
static_assert(matrix_format<nvfp4_modelopt> && matrix_format<nvfp4<modelopt, tiled_128x4>>);
static_assert(matrix_format<nvfp4_compressed>);

CULL_NAMESPACE_END
