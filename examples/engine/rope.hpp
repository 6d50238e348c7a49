// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace engine {

/// Rotary position embedding on adjacent pairs (2i, 2i+1): angle position * theta^(-2i/dims), in f32 as transformers takes it.
class rope {
 public:
  rope() = default;
  rope(std::int64_t dims, double theta) {
    for (std::int64_t i = 0; i < dims; i += 2) {
      auto const exponent = static_cast<float>(i) / static_cast<float>(dims);
      frequency_.push_back(1.0f / static_cast<float>(std::pow(theta, static_cast<double>(exponent))));
    }
  }

  /// Cosines and sines of one position, interleaved as the pairs are.
  std::vector<float> turn(std::int64_t position) const {
    std::vector<float> out;
    for (float const frequency : frequency_) {
      auto const angle = static_cast<double>(static_cast<float>(position) * frequency);
      out.push_back(static_cast<float>(std::cos(angle)));
      out.push_back(static_cast<float>(std::sin(angle)));
    }
    return out;
  }

  /// Rotates the first dims values of `x`.
  static void rotate(std::vector<float> const& turn, float* x) {
    for (std::size_t i = 0; i < turn.size(); i += 2) {
      double const a = x[i], b = x[i + 1], cosine = turn[i], sine = turn[i + 1];
      x[i] = static_cast<float>(a * cosine - b * sine);
      x[i + 1] = static_cast<float>(b * cosine + a * sine);
    }
  }

 private:
  std::vector<float> frequency_;
};

}  // namespace engine
