// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include <cull/cpu/on_cpu.hpp>
#include <cull/tensor/quantize.hpp>

CULL_NAMESPACE_BEGIN

/// Reference: one pass for the tensor's amax where no scale is given, one for the blocks.
template <>
struct impl<quantize_op, on_cpu> {
  template <class T>
  static void run(on_cpu const& exec, modelopt, matrix_view<T> source, nvfp4_buffer& target, std::optional<float> tensor_scale) {
    float const amax = checked_amax(exec, source);
    target.rows = source.rows();
    target.cols = source.cols();
    target.tensor_scale = tensor_scale.value_or(amax / 2688.0f);
    target.codes.resize(static_cast<std::size_t>(source.rows() * source.cols() / 2));
    target.scales.resize(static_cast<std::size_t>(source.rows() * source.cols() / 16));
    std::int64_t const blocks = source.cols() / 16;
    for_each_index(exec, source.rows(), [&](std::int64_t row) {
      float values[16];
      for (std::int64_t b = 0; b < blocks; ++b) {
        for (std::int64_t i = 0; i < 16; ++i) values[i] = as_float(source(row, b * 16 + i));
        auto const index = static_cast<std::size_t>(row * blocks + b);
        target.scales[index] = quantize_block_modelopt(values, target.tensor_scale, target.codes.data() + 8 * index).bits;
      }
    });
  }

 private:
  static float as_float(float value) { return value; }
  static float as_float(bf16 value) { return value.decode(); }

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
