// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <engine/attention.hpp>
#include <engine/linear.hpp>
#include <engine/norms.hpp>

namespace engine {

/// Grouped-query attention: with or without norms of queries and keys, a rotary embedding of a part of each head, biases, a
/// sliding window, sinks.
class grouped_attention final : public attention {
 public:
  /// `prefix` ends in "self_attn."; `window`: positions that a token sees, 0: all.
  grouped_attention(cull::checkpoint const& model, model_config const& config, std::string const& prefix, std::int64_t window,
                    dense const& products);

  buffer operator()(matrix_view<float const> x, std::span<token_place const> places) const override;

 private:
  /// Norms, turns and rounds the heads of queries or keys.
  void finish(buffer& heads, rms_norm const& norm, std::span<std::vector<float> const> turns) const;
  void remember(matrix_view<float const> x, std::span<std::vector<float> const> turns, std::span<token_place const> places) const;
  void attend(float const* query, std::int64_t head, token_place const& place, float* out) const;

  model_config const& config_;
  grouped_sizes const& sizes_;
  dense const& products_;
  std::int64_t window_;
  linear query_, key_, value_, output_;
  rms_norm query_norm_, key_norm_;
  std::vector<float> sinks_;
};

}  // namespace engine
