// SPDX-License-Identifier: Apache-2.0
// A small MoE layer that owns its weights, and what is true of it in long double.
#pragma once

#include <cmath>
#include <cstdint>
#include <deque>
#include <random>
#include <vector>

#include <cull/saliency.hpp>

namespace saliency_test {

inline constexpr std::int64_t hidden = 40, width = 24;
inline constexpr int experts = 9, top_k = 3;

/// A layer of random f32 weights that owns them.
struct owned_layer {
  explicit owned_layer(unsigned seed) : random(seed) {
    layer.number = 4;
    layer.router = {.scoring = cull::scoring::sigmoid, .top_k = top_k, .renormalize = cull::renormalization::on, .scaling = 2.5f};
    layer.router_weight = weights(experts, hidden);
    for (int e = 0; e < experts; ++e) layer.correction_bias.push_back(0.1f * static_cast<float>(e % 3));
    for (int e = 0; e < experts; ++e)
      layer.experts.push_back({weights(width, hidden), weights(width, hidden), weights(hidden, width)});
  }
  cull::weight_matrix weights(std::int64_t rows, std::int64_t cols) {
    std::normal_distribution<float> normal{0, 0.3f};
    auto& values = storage.emplace_back();
    for (std::int64_t i = 0; i < rows * cols; ++i) values.push_back(normal(random));
    return cull::matrix<cull::f32_format>{{values.data(), cols}, rows, cols};
  }
  std::vector<float> const& raw(std::size_t i) const { return storage[i]; }

  std::mt19937 random;
  std::deque<std::vector<float>> storage;  // router, then gate, up, down of each expert
  cull::moe_layer<> layer;
};

inline std::vector<float> inputs(std::int64_t tokens, unsigned seed) {
  std::mt19937 random{seed};
  std::normal_distribution<float> normal;
  std::vector<float> out(static_cast<std::size_t>(tokens * hidden));
  for (auto& value : out) value = normal(random);
  return out;
}

inline std::vector<long double> times(std::vector<float> const& matrix, std::vector<long double> const& x) {
  std::vector<long double> out(matrix.size() / x.size());
  for (std::size_t r = 0; r < out.size(); ++r) {
    for (std::size_t c = 0; c < x.size(); ++c) out[r] += static_cast<long double>(matrix[r * x.size() + c]) * x[c];
  }
  return out;
}

inline std::vector<long double> expert_output(owned_layer const& of, int expert, std::vector<long double> const& x) {
  auto const at = static_cast<std::size_t>(1 + 3 * expert);
  auto inner = times(of.raw(at), x);
  auto const up = times(of.raw(at + 1), x);
  for (std::size_t i = 0; i < inner.size(); ++i) inner[i] = inner[i] / (1 + std::exp(-inner[i])) * up[i];
  return times(of.raw(at + 2), inner);
}

}  // namespace saliency_test
