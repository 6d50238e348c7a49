// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/executor.hpp>
#include <cull/numeric/bf16.hpp>
#include <cull/numeric/e2m1.hpp>
#include <cull/numeric/e4m3.hpp>
#include <cull/tensor/nvfp4.hpp>
#include <cull/tensor/view.hpp>

CULL_NAMESPACE_BEGIN

/// An NVFP4 matrix that owns its bytes, in modelopt's layout: codes [rows, cols/2], block scales [rows, cols/16], one tensor scale.
struct nvfp4_buffer {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<std::uint8_t> codes;
  std::vector<std::uint8_t> scales;
  float tensor_scale = 0.0f;

  matrix<nvfp4_modelopt> view() const { return {{codes.data(), scales.data(), tensor_scale, cols}, rows, cols}; }
};

/// Quantises one block of 16 values as modelopt's dynamic NVFP4 does; `codes` gets 8 bytes. Returns the block scale.
/// scale = amax / (6 * tensor scale), 0 -> 1, clamped to [2^-9, 448], to e4m3; code = e2m1(x / (scale * tensor scale)), true division.
/// A tensor scale of zero (all-zero tensor) gives zero codes.
CULL_HD inline e4m3 quantize_block_modelopt(float const* x, float tensor_scale, std::uint8_t* codes) noexcept {
  float amax = 0.0f;
  for (int i = 0; i < 16; ++i) {
    float const a = x[i] < 0.0f ? -x[i] : x[i];
    amax = a > amax ? a : amax;
  }
  float scale = tensor_scale > 0.0f ? amax / (6.0f * tensor_scale) : 1.0f;
  if (scale == 0.0f) scale = 1.0f;
  scale = scale < 0x1p-9f ? 0x1p-9f : (scale > e4m3::max ? e4m3::max : scale);
  e4m3 const encoded = e4m3::encode(scale);
  float const divisor = encoded.decode() * tensor_scale;
  for (int i = 0; i < 8; ++i) {
    unsigned pair = 0;
    for (int half = 0; half < 2; ++half) {
      float const value = x[2 * i + half];
      // modelopt takes the sign from "x < 0", so that -0 is coded as 0.
      float const quotient = (value == 0.0f || tensor_scale == 0.0f) ? 0.0f : value / divisor;
      pair |= static_cast<unsigned>(e2m1::encode(quotient).bits) << (4 * half);
    }
    codes[i] = static_cast<std::uint8_t>(pair);
  }
  return encoded;
}

struct quantize_op;

/// Quantises `source` [rows, cols] (f32 or bf16) into `target` exactly as nvidia-modelopt 0.47's dynamic NVFP4 weight quantiser:
/// codes, block scales and tensor scale are its bytes. `tensor_scale` defaults to amax / 2688 of this tensor; give another where
/// tensors share one (gate and up of an expert). Throws `errc::shape_mismatch` (cols not a multiple of 16), `errc::not_finite`
/// (NaN or infinity in the source, or a tensor scale that is not finite and >= 0).
template <class Exec, class T>
  requires(std::same_as<std::remove_const_t<T>, float> || std::same_as<std::remove_const_t<T>, bf16>) &&
          implemented_on<quantize_op, Exec>
void quantize(Exec const& exec, modelopt dialect, matrix_view<T, typename Exec::memory_space> source, nvfp4_buffer& target,
              std::optional<float> tensor_scale = {}) {
  if (source.cols() % 16 != 0) {
    throw error{errc::shape_mismatch, "quantize: " + std::to_string(source.cols()) + " columns are not a multiple of 16"};
  }
  if (tensor_scale && !(*tensor_scale >= 0.0f && *tensor_scale <= 3.4028235e38f)) {
    throw error{errc::not_finite, "quantize: the tensor scale must be finite and not negative"};
  }
  impl<quantize_op, Exec>::run(exec, dialect, source, target, tensor_scale);
}

CULL_NAMESPACE_END
