// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>

#include <engine/dense.hpp>
#include <engine/kv_cache.hpp>
#include <engine/model_config.hpp>
#include <engine/norms.hpp>
#include <engine/rope.hpp>

namespace engine {

/// The part of DeepSeek sparse attention that decides which positions a token attends to.
class indexer {
 public:
  indexer(cull::checkpoint const& model, model_config const& config, std::string const& prefix, dense const& products);

  /// Appends each token's index key to its cache. `x` `[m, hidden]`: the normed layer input. `turns`: of each token's position.
  void remember(matrix_view<float const> x, std::span<std::vector<float> const> turns, std::span<token_place const> places) const;

  /// Fills each token's picks: the index_topk best positions up to its own, ties to the lower position; empty where there are
  /// no more than index_topk. `query_latent` `[m, query_rank]`. Keys of all those positions must have been remembered.
  void pick(matrix_view<float const> x, matrix_view<float const> query_latent, std::span<std::vector<float> const> turns,
            std::span<token_place const> places) const;

 private:
  picked_positions best(float const* query, float const* head_weight, token_place const& place) const;

  latent_sizes const& sizes_;
  rope const& rotary_;
  dense const& products_;
  cull::weight_matrix query_, key_, head_weight_;
  layer_norm key_norm_;
};

}  // namespace engine
