// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace engine {

/// Sum of `a[i] * b[i]` in f64: each product of two f32 is exact there, so contraction changes no bit; eight lanes, one order.
inline double dot(float const* a, float const* b, std::int64_t size) {
  double lane[8] = {};
  std::int64_t i = 0;
  for (; i + 8 <= size; i += 8) {
    for (int j = 0; j < 8; ++j) lane[j] += static_cast<double>(a[i + j]) * static_cast<double>(b[i + j]);
  }
  for (int j = 0; j < 8 && i + j < size; ++j) lane[j] += static_cast<double>(a[i + j]) * static_cast<double>(b[i + j]);
  return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

/// `sums[i] += factor * values[i]`, under the same rule.
inline void accumulate(double* sums, float factor, float const* values, std::int64_t size) {
  for (std::int64_t i = 0; i < size; ++i) sums[i] += static_cast<double>(factor) * static_cast<double>(values[i]);
}

}  // namespace engine
