// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include <engine/buffer.hpp>
#include <engine/dot.hpp>

namespace engine {

/// y = x / sqrt(mean(x^2) + epsilon) * weight, per row.
class rms_norm {
 public:
  rms_norm() = default;
  rms_norm(std::vector<float> weight, double epsilon) : weight_(std::move(weight)), epsilon_(epsilon) {}

  std::int64_t size() const { return static_cast<std::int64_t>(weight_.size()); }

  /// One row of size() values; `out` may be `x`.
  void row(float const* x, float* out) const {
    double const mean = dot(x, x, size()) / static_cast<double>(size());
    double const inverse = 1.0 / std::sqrt(mean + epsilon_);
    for (std::int64_t i = 0; i < size(); ++i) {
      out[i] =
          static_cast<float>(static_cast<double>(x[i]) * inverse * static_cast<double>(weight_[static_cast<std::size_t>(i)]));
    }
  }

  buffer operator()(matrix_view<float const> x) const {
    buffer out{x.rows(), size()};
    for (std::int64_t i = 0; i < x.rows(); ++i) row(x.row(i).data(), out.row(i));
    return out;
  }

 private:
  std::vector<float> weight_;
  double epsilon_ = 0;
};

/// y = (x - mean) / sqrt(variance + epsilon) * weight + bias, per row, in place.
class layer_norm {
 public:
  layer_norm() = default;
  layer_norm(std::vector<float> weight, std::vector<float> bias, double epsilon)
      : weight_(std::move(weight)), bias_(std::move(bias)), epsilon_(epsilon) {}

  void row(float* x) const {
    auto const size = static_cast<std::int64_t>(weight_.size());
    double sum = 0;
    for (std::int64_t i = 0; i < size; ++i) sum += static_cast<double>(x[i]);
    double const mean = sum / static_cast<double>(size);
    for (std::int64_t i = 0; i < size; ++i) x[i] = static_cast<float>(static_cast<double>(x[i]) - mean);
    double const inverse = 1.0 / std::sqrt(dot(x, x, size) / static_cast<double>(size) + epsilon_);
    for (std::int64_t i = 0; i < size; ++i) {
      auto const at = static_cast<std::size_t>(i);
      // Rounded to f32 first, so that the product with the weight is exact and its sum with the bias has one rounding.
      auto const unit = static_cast<float>(static_cast<double>(x[i]) * inverse);
      x[i] = static_cast<float>(static_cast<double>(unit) * static_cast<double>(weight_[at]) + static_cast<double>(bias_[at]));
    }
  }

 private:
  std::vector<float> weight_;
  std::vector<float> bias_;
  double epsilon_ = 0;
};

}  // namespace engine
