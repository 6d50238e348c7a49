// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <engine/decoder.hpp>
#include <engine/token_table.hpp>

namespace engine {

/// Takes all tokens of a table through layers one after another, in batches.
class layer_pass {
 public:
  layer_pass(model_config const& config, token_table const& tokens, std::int64_t batch_tokens, layer_hooks const& hooks)
      : config_(config), tokens_(tokens), batch_tokens_(batch_tokens), hooks_(hooks), picks_(tokens.ids.size()) {}

  /// `hidden` `[tokens, hidden]` in place; returns the number of batches.
  std::int64_t operator()(layer const& through, buffer& hidden);

 private:
  std::int64_t take(layer const& through, buffer& hidden, observation* observer);
  std::vector<token_place> places(std::vector<layer_cache>& caches);
  void show(layer const& after, buffer const& hidden) const;

  model_config const& config_;
  token_table const& tokens_;
  std::int64_t batch_tokens_;
  layer_hooks const& hooks_;
  std::vector<picked_positions> picks_;  // of the last layer with an indexer
  std::vector<std::int32_t> routed_ids_;
  std::vector<float> routed_weights_;
};

}  // namespace engine
