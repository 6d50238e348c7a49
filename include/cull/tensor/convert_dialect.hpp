// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <optional>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/tensor/matrix.hpp>
#include <cull/tensor/nvfp4.hpp>

CULL_NAMESPACE_BEGIN

/// Whether a tensor scale comes back from the other dialect with its bits: f32(1 / f32(1 / scale)) == scale.
///
/// 17.2 % of f32 do not. For those no f32 at all has `scale` as its rounded reciprocal (above a significand of sqrt 2 reciprocals
/// of neighbours lie further apart than neighbours), so there is no better partner than f32(1 / scale): who promises a round trip
/// must keep the scalar and give it to `convert_dialect` on the way back.
CULL_HD constexpr bool returns_from_reciprocal(float scale) noexcept { return 1.0f / (1.0f / scale) == scale; }

/// The matrix in NVFP4's other dialect: the same codes and block scales (nothing is copied), the tensor scale's reciprocal,
/// rounded to f32. Values then agree to that rounding (2^-24 relative, and the dialects' own), not bit for bit.
///
/// `tensor_scale`: the scale to give the result instead, one that is the reciprocal of the source's or has it as its reciprocal:
/// the scalar a matrix had before its first conversion, so that a round trip returns it. Throws `errc::out_of_range` where the
/// scale or its reciprocal is not finite and positive (an all-zero tensor of modelopt's has scale 0), or `tensor_scale` is
/// another number.
template <class To, class From, class ScaleLayout, class Space>
  requires((std::same_as<To, modelopt> && std::same_as<From, compressed_tensors>) ||
           (std::same_as<To, compressed_tensors> && std::same_as<From, modelopt>))
matrix<nvfp4<To, ScaleLayout>, Space> convert_dialect(matrix<nvfp4<From, ScaleLayout>, Space> const& source,
                                                      std::optional<float> tensor_scale = {}) {
  auto const& p = source.parts;
  auto const usable = [](float scale) { return scale > 0.0f && scale <= 3.4028235e38f; };
  float const reciprocal = 1.0f / p.tensor_scale;
  if (!usable(p.tensor_scale) || !usable(reciprocal)) {
    throw error{errc::out_of_range, "convert_dialect: the tensor scale and its reciprocal must be finite and positive"};
  }
  if (tensor_scale && *tensor_scale != reciprocal && 1.0f / *tensor_scale != p.tensor_scale) {
    throw error{errc::out_of_range, "convert_dialect: the given tensor scale is not the reciprocal of the matrix's"};
  }
  return {{p.codes, p.scales, tensor_scale.value_or(reciprocal), p.cols, p.row_step}, source.rows, source.cols};
}

CULL_NAMESPACE_END
