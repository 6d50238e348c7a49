// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/executor.hpp>
#include <cull/numeric/bf16.hpp>
#include <cull/tensor/buffers.hpp>
#include <cull/tensor/nvfp4.hpp>
#include <cull/tensor/quantize_block.hpp>
#include <cull/tensor/view.hpp>

CULL_NAMESPACE_BEGIN

struct quantize_op;

/// What `quantize` reads: f32 or bf16.
template <class T>
concept quantize_source = std::same_as<std::remove_const_t<T>, float> || std::same_as<std::remove_const_t<T>, bf16>;

namespace detail {

inline void check_quantize_columns(std::int64_t cols, std::int64_t block) {
  if (cols % block == 0) return;
  throw error{errc::shape_mismatch,
              "quantize: " + std::to_string(cols) + " columns are not a multiple of " + std::to_string(block)};
}

}  // namespace detail

/// Quantises `source` [rows, cols] (f32 or bf16) into `target` exactly as nvidia-modelopt 0.47's dynamic NVFP4 weight quantiser:
/// codes, block scales and tensor scale are its bytes. `tensor_scale` defaults to amax / 2688 of this tensor; give another where
/// tensors share one (gate and up of an expert). Throws `errc::shape_mismatch` (cols not a multiple of 16), `errc::not_finite`
/// (NaN or infinity in the source, or a tensor scale that is not finite and >= 0).
template <class Exec, quantize_source T>
  requires implemented_on<quantize_op, Exec>
void quantize(Exec const& exec, modelopt dialect, matrix_view<T, typename Exec::memory_space> source, nvfp4_buffer& target,
              std::optional<float> tensor_scale = {}) {
  detail::check_quantize_columns(source.cols(), 16);
  if (tensor_scale && !(*tensor_scale >= 0.0f && *tensor_scale <= 3.4028235e38f)) {
    throw error{errc::not_finite, "quantize: the tensor scale must be finite and not negative"};
  }
  impl<quantize_op, Exec>::run(exec, dialect, source, target, tensor_scale);
}

/// Quantises `source` [rows, cols] into `target` exactly as compressed-tensors' `nvfp4-pack-quantized` on a CPU with an f32
/// observer. `global_scale` defaults to f32(2688 * f32(1 / amax)) of this tensor, 1 where that is not finite (amax 0 or tiny);
/// give the smallest of several where tensors share one. Not followed, since they depend on the machine it ran on: its GPU path,
/// which rounds x / scale to bf16 before coding, and its observer on bf16 tensors, which rounds amax / 6 and the global scale to
/// bf16; a bf16 source is quantised as the f32 of the same values. Throws as the overload for modelopt; a global scale must be
/// positive.
template <class Exec, quantize_source T>
  requires implemented_on<quantize_op, Exec>
void quantize(Exec const& exec, compressed_tensors dialect, matrix_view<T, typename Exec::memory_space> source,
              nvfp4_compressed_buffer& target, std::optional<float> global_scale = {}) {
  detail::check_quantize_columns(source.cols(), 16);
  if (global_scale && !(*global_scale > 0.0f && *global_scale <= 3.4028235e38f)) {
    throw error{errc::not_finite, "quantize: the global scale must be finite and positive"};
  }
  impl<quantize_op, Exec>::run(exec, dialect, source, target, global_scale);
}

/// modelopt's way to MXFP4 (scale rounded up, ties towards zero), see `quantize_block_mxfp4_modelopt`; OCP's own, GGUF's and
/// compressed-tensors' ways choose other scales.
struct mxfp4_modelopt {};

/// Quantises `source` [rows, cols] into `target` as nvidia-modelopt 0.47's MXFP4, byte for byte but for the one deviation that
/// `quantize_block_mxfp4_modelopt` names. Throws `errc::shape_mismatch` (cols not a multiple of 32), `errc::not_finite`.
template <class Exec, quantize_source T>
  requires implemented_on<quantize_op, Exec>
void quantize(Exec const& exec, mxfp4_modelopt dialect, matrix_view<T, typename Exec::memory_space> source,
              mxfp4_buffer& target) {
  detail::check_quantize_columns(source.cols(), 32);
  impl<quantize_op, Exec>::run(exec, dialect, source, target);
}

CULL_NAMESPACE_END
