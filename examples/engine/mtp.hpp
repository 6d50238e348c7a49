// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>

#include <engine/layer.hpp>
#include <engine/vocabulary.hpp>

namespace engine {

/// The multi-token-prediction layer: from the final-normed hidden state of token t and the id of token t + 1 to token t + 2.
class mtp_layer {
 public:
  mtp_layer(cull::checkpoint const& model, model_config const& config, dense const& products);

  engine::layer const& layer() const { return layer_; }
  /// `shared_head.norm`, behind which the model's own head follows.
  rms_norm const& head_norm() const { return head_norm_; }

  /// Input of the layer: eh_proj([enorm(embedding of the next id, zero at position 0), hnorm(normed)]). `normed` `[m, hidden]`.
  buffer input(embedding const& embed, std::span<int const> next_ids, std::span<std::int64_t const> positions,
               matrix_view<float const> normed) const;

 private:
  dense const& products_;
  rms_norm embedding_norm_, hidden_norm_, head_norm_;
  cull::weight_matrix join_;
  engine::layer layer_;
};

}  // namespace engine
