// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include <engine/dense.hpp>
#include <engine/model_config.hpp>
#include <engine/norms.hpp>

namespace engine {

/// Token ids to the first hidden states.
class embedding {
 public:
  embedding(cull::checkpoint const& model, model_config const& config);

  /// One row of `hidden` values.
  void row(int id, float* out) const;
  buffer operator()(std::span<int const> ids) const;

 private:
  cull::weight_matrix table_;
};

/// Last hidden states to logits: the final norm, and the product that the MTP layer shares.
class head {
 public:
  head(cull::checkpoint const& model, model_config const& config, dense const& products);

  rms_norm const& norm() const { return norm_; }
  /// `normed` `[m, hidden]`: after a norm; result `[m, vocabulary]`.
  buffer logits(matrix_view<float const> normed) const { return products_(normed, weight_); }

 private:
  dense const& products_;
  rms_norm norm_;
  cull::weight_matrix weight_;
};

}  // namespace engine
