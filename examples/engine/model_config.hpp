// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include <cull/checkpoint.hpp>

namespace engine {

/// What the decoder needs of a glm_moe_dsa model's config.json, under the names used there.
struct model_config {
  int layers = 0;        ///< without the MTP layer
  int first_dense = 0;   ///< layers below this have a dense feed-forward part
  bool has_mtp = false;  ///< layer number `layers` holds the multi-token-prediction layer
  std::int64_t hidden = 0, vocabulary = 0;
  std::int64_t heads = 0, query_rank = 0, latent = 0;  ///< latent: kv_lora_rank
  std::int64_t nope = 0, rotary = 0, value = 0;        ///< sizes per head
  std::int64_t index_heads = 0, index_dim = 0, index_topk = 0;
  std::vector<bool> full_indexer;  ///< per layer, the MTP layer last
  double rope_theta = 0, epsilon = 0;
  std::vector<int> eos;  ///< eos_token_id

  std::int64_t query_dim() const { return nope + rotary; }
  /// Values that a cached position takes: the latent and the rotary key.
  std::int64_t key_dim() const { return latent + rotary; }
};

/// Throws errc::unsupported_model for what this decoder does not run, errc::bad_config for impossible numbers.
model_config read_model_config(cull::checkpoint const& model);

}  // namespace engine
