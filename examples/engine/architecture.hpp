// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include <cull/checkpoint.hpp>

namespace engine {

enum class attention_kind { latent, grouped_query };
/// Which values a rotary embedding turns together: (2i, 2i + 1), or (i, i + dims / 2).
enum class rotary_pairs { adjacent, halves };
/// RMS norms of queries and keys before the rotary embedding: of each head, or of all heads together; `as_config`: of each head
/// where config.json's `use_qk_norm` is true.
enum class head_norm { none, per_head, all_heads, as_config };
/// Layers that see `sliding_window` positions only: none; all, where config.json has a window; those that `layer_types` names.
enum class window_rule { none, every_layer, by_layer_type };

/// What a decoder of one `model_type` does that config.json does not say; a new one is one entry of the table in
/// architecture.cpp where its layers are made of these parts.
struct architecture {
  std::string_view model_type;
  attention_kind attention = attention_kind::grouped_query;
  rotary_pairs pairs = rotary_pairs::halves;
  head_norm query_key_norm = head_norm::none;
  window_rule window = window_rule::none;
  bool indexer = false;     ///< DeepSeek sparse attention
  bool sinks = false;       ///< a logit per head that takes its share of the softmax and gives nothing
  double rotary_share = 1;  ///< of a head's values, where config.json has no `partial_rotary_factor`
  std::string_view shared_count = "n_shared_experts";
};

/// The entry of the model's `model_type`. Throws errc::unsupported_model: names those there are, and how to calibrate without.
architecture const& architecture_of(cull::checkpoint const& model);

}  // namespace engine
