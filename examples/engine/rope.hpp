// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include <cull/checkpoint.hpp>

#include <engine/architecture.hpp>

namespace engine {

/// Rotary position embedding: value pairs turn by position * frequency, frequencies in f32 as transformers takes them.
class rope {
 public:
  rope() = default;
  rope(std::vector<float> frequencies, float factor, rotary_pairs pairs)
      : frequency_(std::move(frequencies)), factor_(factor), pairs_(pairs) {}

  /// Values of a head that turn, the first ones.
  std::int64_t dims() const { return 2 * static_cast<std::int64_t>(frequency_.size()); }

  /// Cosine and sine of each pair at one position.
  std::vector<float> turn(std::int64_t position) const;

  /// Turns the first dims() values of `x`.
  void rotate(std::vector<float> const& turn, float* x) const;

 private:
  std::vector<float> frequency_;  // of each pair
  float factor_ = 1;              // of cosines and sines
  rotary_pairs pairs_ = rotary_pairs::adjacent;
};

/// The embedding of the first `dims` values of a head: `rope_parameters`, or `rope_theta` and `rope_scaling` as older files have
/// them, of type default or yarn (https://arxiv.org/abs/2309.00071). Throws errc::unsupported_model for other types.
rope read_rope(cull::config_view const& config, std::int64_t dims, rotary_pairs pairs);

/// What latent attention multiplies the softmax scale by when YaRN stretches the context: DeepSeek's mscale_all_dim.
double yarn_softmax_factor(cull::config_view const& config);

}  // namespace engine
