// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include <cull/cpu/on_cpu.hpp>
#include <cull/tensor/quantize.hpp>

CULL_NAMESPACE_BEGIN

/// Reference: one pass for the tensor's amax, which also refuses what is not finite, one for the blocks.
template <>
struct impl<quantize_op, on_cpu> {
  template <class T>
  static void run(on_cpu const& exec, modelopt, matrix_view<T> source, nvfp4_buffer& target, std::optional<float> tensor_scale) {
    float const amax = checked_amax(exec, source);
    target.tensor_scale = tensor_scale.value_or(amax / 2688.0f);
    fill<16>(exec, source, target, [&](float const* values, std::uint8_t* codes) {
      return quantize_block_modelopt(values, target.tensor_scale, codes).bits;
    });
  }

  template <class T>
  static void run(on_cpu const& exec, compressed_tensors, matrix_view<T> source, nvfp4_compressed_buffer& target,
                  std::optional<float> global_scale) {
    // Two roundings, since torch divides a number by a tensor as number * reciprocal.
    float const own = 2688.0f * (1.0f / checked_amax(exec, source));
    target.global_scale = global_scale.value_or(std::isfinite(own) ? own : 1.0f);
    fill<16>(exec, source, target, [&](float const* values, std::uint8_t* codes) {
      return quantize_block_compressed(values, target.global_scale, codes).bits;
    });
  }

  template <class T>
  static void run(on_cpu const& exec, mxfp4_modelopt, matrix_view<T> source, mxfp4_buffer& target) {
    checked_amax(exec, source);
    fill<32>(exec, source, target,
             [](float const* values, std::uint8_t* codes) { return quantize_block_mxfp4_modelopt(values, codes).bits; });
  }

 private:
  static float as_float(float value) { return value; }
  static float as_float(bf16 value) { return value.decode(); }

  /// `block(values, codes)` writes the codes of `size` values and returns their scale.
  template <std::int64_t size, class T, class Buffer, class Block>
  static void fill(on_cpu const& exec, matrix_view<T> source, Buffer& target, Block block) {
    target.rows = source.rows();
    target.cols = source.cols();
    target.codes.resize(static_cast<std::size_t>(source.rows() * source.cols() / 2));
    target.scales.resize(static_cast<std::size_t>(source.rows() * source.cols() / size));
    std::int64_t const blocks = source.cols() / size;
    for_each_index(exec, source.rows(), [&](std::int64_t row) {
      float values[size];
      for (std::int64_t b = 0; b < blocks; ++b) {
        for (std::int64_t i = 0; i < size; ++i) values[i] = as_float(source(row, b * size + i));
        auto const index = static_cast<std::size_t>(row * blocks + b);
        target.scales[index] = block(values, target.codes.data() + size / 2 * row * blocks + size / 2 * b);
      }
    });
  }

  template <class T>
  static float checked_amax(on_cpu const& exec, matrix_view<T> source) {
    std::vector<float> rows(static_cast<std::size_t>(source.rows()), 0.0f);
    for_each_index(exec, source.rows(), [&](std::int64_t row) {
      float amax = 0.0f;
      for (T const value : source.row(row)) {
        float const a = std::fabs(as_float(value));
        if (!std::isfinite(a)) throw error{errc::not_finite, "quantize: NaN or infinity in row " + std::to_string(row)};
        amax = std::max(amax, a);
      }
      rows[static_cast<std::size_t>(row)] = amax;
    });
    return rows.empty() ? 0.0f : *std::max_element(rows.begin(), rows.end());
  }
};

CULL_NAMESPACE_END
