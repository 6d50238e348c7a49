// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>

#include <engine/attention.hpp>
#include <engine/indexer.hpp>
#include <engine/latent_projection.hpp>

namespace engine {

/// Multi-head latent attention (https://arxiv.org/abs/2405.04434), with an indexer where the layer has one.
class latent_attention final : public attention {
 public:
  /// `prefix` ends in "self_attn."; `full`: the layer has an indexer.
  latent_attention(cull::checkpoint const& model, model_config const& config, std::string const& prefix, bool full,
                   dense const& products);

  /// A layer without an indexer attends to the picks that it finds.
  buffer operator()(matrix_view<float const> x, std::span<token_place const> places) const override;

 private:
  buffer query_latents(matrix_view<float const> x) const;
  void remember(matrix_view<float const> x, std::span<std::vector<float> const> turns, std::span<token_place const> places) const;
  buffer queries(matrix_view<float const> query_latent, std::span<std::vector<float> const> turns) const;
  void attend(float const* query, token_place const& place, float* latent) const;

  model_config const& config_;
  latent_sizes const& sizes_;
  dense const& products_;
  std::optional<cull::weight_matrix> query_a_;  // none: query_b_ takes the hidden state
  cull::weight_matrix query_b_, key_value_a_, output_;
  rms_norm query_norm_, latent_norm_;
  latent_projection key_value_b_;
  std::optional<indexer> indexer_;
};

}  // namespace engine
