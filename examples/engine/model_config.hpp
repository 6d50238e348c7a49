// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <cull/checkpoint.hpp>

#include <engine/architecture.hpp>
#include <engine/rope.hpp>

namespace engine {

/// Multi-head latent attention, and the indexer of DeepSeek sparse attention where there is one.
struct latent_sizes {
  std::int64_t hidden = 0, heads = 0;
  std::int64_t query_rank = 0;                   ///< 0: queries come straight from the hidden state
  std::int64_t latent = 0;                       ///< kv_lora_rank
  std::int64_t nope = 0, rotary = 0, value = 0;  ///< sizes per head
  std::int64_t index_heads = 0, index_dim = 0, index_topk = 0;
  std::vector<bool> full_indexer = {};  ///< per layer, the MTP layer last; empty: no indexer

  std::int64_t query_dim() const { return nope + rotary; }
  /// Values that a cached position takes: the latent and the rotary key.
  std::int64_t key_dim() const { return latent + rotary; }
  bool indexer_in(int layer) const { return !full_indexer.empty() && full_indexer.at(static_cast<std::size_t>(layer)); }
};

/// Grouped-query attention: `heads / key_heads` queries share a key and a value.
struct grouped_sizes {
  std::int64_t hidden = 0, heads = 0, key_heads = 0, head = 0;
  bool per_head_norm = false, all_heads_norm = false, sinks = false;
  std::vector<std::int64_t> window = {};  ///< per layer, positions a token sees with its own; 0: all. The MTP layer sees all
  std::optional<float> clip = {};         ///< clip_qkv: bounds of queries, keys and values

  /// Values that a cached position takes: all keys, then all values.
  std::int64_t key_dim() const { return 2 * key_heads * head; }
  std::int64_t window_in(int layer) const {
    auto const at = static_cast<std::size_t>(layer);
    return at < window.size() ? window[at] : 0;
  }
};

/// What the decoder needs of a model's config.json.
struct model_config {
  architecture const* kind = nullptr;
  int layers = 0;        ///< without the MTP layer
  bool has_mtp = false;  ///< layer number `layers` holds the multi-token-prediction layer
  std::int64_t hidden = 0, vocabulary = 0;
  double epsilon = 0;
  latent_sizes latent;    ///< where `kind` says so, else
  grouped_sizes grouped;  ///< these
  rope rotary;
  double softmax_scale = 0;
  std::vector<int> eos;  ///< eos_token_id

  /// f32 values that one position of one layer leaves in its cache, and in its indexer's.
  std::int64_t cached_values() const { return kind->attention == attention_kind::latent ? latent.key_dim() : grouped.key_dim(); }
  std::int64_t cached_index_values() const { return latent.index_dim; }
};

/// Throws errc::unsupported_model for what this decoder does not run, errc::bad_config for impossible numbers.
model_config read_model_config(cull::checkpoint const& model);

/// Sets another `index_topk`. Throws errc::out_of_range where it is not positive or the model has no indexer.
void replace_index_topk(model_config& config, std::int64_t index_topk);

}  // namespace engine
