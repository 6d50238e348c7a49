// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>
#include <vector>

#include <engine/dense.hpp>
#include <engine/kv_cache.hpp>
#include <engine/model_config.hpp>

namespace engine {

/// The attention of one layer.
class attention {
 public:
  virtual ~attention() = default;
  /// Output `[m, hidden]` for the normed layer input `x` of the tokens at `places`, which is appended to their caches first.
  /// Positions of one sequence must arrive in order. No token's result depends on the others of the batch or on threads.
  virtual buffer operator()(matrix_view<float const> x, std::span<token_place const> places) const = 0;
};

/// Of the kind that `config` has for layer `number`; refers to `config` and `products`.
std::unique_ptr<attention> load_attention(cull::checkpoint const& model, model_config const& config, int number,
                                          dense const& products);

/// Cosines and sines of every token's position.
std::vector<std::vector<float>> turns_of(rope const& rotary, std::span<token_place const> places);

/// Scores to the weights of a softmax before division, in place; returns what to divide by. `sink`: one more score, or null.
double exponentials(std::vector<float>& scores, float const* sink = nullptr);

}  // namespace engine
