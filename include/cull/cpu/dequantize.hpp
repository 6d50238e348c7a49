// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>

#include <cull/cpu/on_cpu.hpp>
#include <cull/tensor/dequantize.hpp>

CULL_NAMESPACE_BEGIN

/// Reference: row by row, group by group.
template <>
struct impl<dequantize_op, on_cpu> {
  template <matrix_format F, class T>
  static void run(on_cpu const& exec, matrix<F> const& source, matrix_view<T> target) {
    for_each_index(exec, source.rows, [&](std::int64_t row) {
      float values[F::group];
      for (std::int64_t g = 0; g < source.cols / F::group; ++g) {
        dequantize_group<F>(source.parts, row, g, values);
        for (std::int64_t i = 0; i < F::group; ++i) {
          if constexpr (std::is_same_v<T, float>) {
            target(row, g * F::group + i) = values[i];
          } else {
            target(row, g * F::group + i) = T::encode(values[i]);
          }
        }
      }
    });
  }
};

CULL_NAMESPACE_END
