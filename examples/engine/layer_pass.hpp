// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>

#include <engine/decoder.hpp>
#include <engine/token_table.hpp>

namespace engine {

/// Takes all tokens of a table through layers one after another, in batches.
class layer_pass {
 public:
  layer_pass(model_config const& config, token_table const& tokens, std::int64_t batch_tokens, layer_hooks const& hooks)
      : config_(config),
        tokens_(tokens),
        batch_tokens_(batch_tokens > 0 ? batch_tokens : std::max<std::int64_t>(tokens.rows(), 1)),
        hooks_(hooks),
        unpruned_(hooks.prune_after ? tokens.rows() : 0, config.hidden),
        picks_(tokens.ids.size()),
        caches_(static_cast<std::size_t>(tokens.sequences())) {}

  /// `hidden` `[tokens, hidden]` in place; returns the number of batches.
  std::int64_t operator()(layer const& through, buffer& hidden);

  /// Most tokens of a batch, all where nobody bounds it.
  std::int64_t batch_tokens() const { return batch_tokens_; }
  /// Bytes of what indexers have picked for all tokens.
  std::int64_t picked_bytes() const;
  /// Bytes that it holds for all tokens at a time, beside their hidden states.
  std::int64_t state_bytes() const { return unpruned_.bytes() + picked_bytes(); }

 private:
  std::int64_t take(layer const& through, buffer& hidden, observation* observer);
  std::vector<token_place> places(std::int64_t first, std::int64_t count);
  int first_open(std::int64_t next) const;
  void show(layer const& after, buffer const& hidden) const;

  model_config const& config_;
  token_table const& tokens_;
  std::int64_t batch_tokens_;
  layer_hooks const& hooks_;
  buffer unpruned_;                      // hidden states that see the layer before it is pruned
  std::vector<picked_positions> picks_;  // of the last layer with an indexer
  std::vector<layer_cache> caches_;      // of each sequence, in the layer that runs
  std::vector<std::int32_t> routed_ids_;
  std::vector<float> routed_weights_;
};

}  // namespace engine
