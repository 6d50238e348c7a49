// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <string>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/executor.hpp>
#include <cull/numeric/bf16.hpp>
#include <cull/numeric/f16.hpp>
#include <cull/tensor/matrix.hpp>
#include <cull/tensor/view.hpp>

CULL_NAMESPACE_BEGIN

struct dequantize_op;

/// The value a format defines for columns `[g*group, (g+1)*group)` of a row: its own `dequantize_group` where it has one, else
/// decoded value times outer scale, rounded to f32 (once where the outer scale is f32).
template <matrix_format F>
CULL_HD void dequantize_group(typename F::parts const& parts, std::int64_t row, std::int64_t g, float* out) noexcept {
  if constexpr (requires { F::dequantize_group(parts, row, g, out); }) {
    F::dequantize_group(parts, row, g, out);
  } else {
    F::decode_group(parts, row, g, out);
    auto const scale = F::outer_scale(parts);
    for (std::int64_t i = 0; i < F::group; ++i) out[i] = static_cast<float>(out[i] * scale);
  }
}

/// Writes `source` [rows, cols] as f32, bf16 or f16 (f32 rounded once, ties to even) into `target` [rows, cols].
/// Bit-exact: for NVFP4 the dialect's own order of multiplication, so modelopt's `dequantize` gives the same numbers.
/// Throws `errc::shape_mismatch`. Deterministic for any number of threads.
template <class Exec, matrix_format F, class Space, class T>
requires(std::same_as<T, float> || std::same_as<T, bf16> || std::same_as<T, f16>) &&
    std::same_as<typename Exec::memory_space, Space>&& implemented_on<dequantize_op, Exec> void dequantize(
        Exec const& exec, matrix<F, Space> const& source, matrix_view<T, Space> target) {
  if (source.rows != target.rows() || source.cols != target.cols() || source.cols % F::group != 0) {
    throw error{errc::shape_mismatch, "dequantize: a " + std::to_string(source.rows) + " x " + std::to_string(source.cols) +
                                          " matrix into " + std::to_string(target.rows()) + " x " +
                                          std::to_string(target.cols()) + "; shapes must agree and columns fill groups of " +
                                          std::to_string(F::group)};
  }
  impl<dequantize_op, Exec>::run(exec, source, target);
}

CULL_NAMESPACE_END
