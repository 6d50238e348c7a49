// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <span>
#include <string>

#include <engine/indexer.hpp>
#include <engine/latent_projection.hpp>

namespace engine {

/// Multi-head latent attention of one layer, with its indexer where it has one.
class attention {
 public:
  /// `prefix` ends in "self_attn."; `full`: the layer has an indexer.
  attention(cull::checkpoint const& model, model_config const& config, std::string const& prefix, bool full,
            dense const& products);

  /// Output `[m, hidden]` for the normed layer input `x` of the tokens at `places`, which is appended to their caches first.
  /// Positions of one sequence must arrive in order. A layer without an indexer attends to the picks that it finds.
  buffer operator()(matrix_view<float const> x, std::span<token_place const> places) const;

 private:
  void remember(matrix_view<float const> x, std::span<std::vector<float> const> turns, std::span<token_place const> places) const;
  buffer queries(matrix_view<float const> query_latent, std::span<std::vector<float> const> turns) const;
  void attend(float const* query, token_place const& place, float* latent) const;

  model_config const& config_;
  dense const& products_;
  rope rope_;
  cull::weight_matrix query_a_, query_b_, key_value_a_, output_;
  rms_norm query_norm_, latent_norm_;
  latent_projection key_value_b_;
  std::optional<indexer> indexer_;
};

}  // namespace engine
