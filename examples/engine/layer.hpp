// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <span>

#include <engine/attention.hpp>
#include <engine/feed_forward.hpp>
#include <engine/norms.hpp>

namespace engine {

/// One decoder layer; holds views of mapped weights and refers to `config` and `products`, which must outlive it.
class layer {
 public:
  /// `number`: as in tensor names; config.layers is the MTP layer.
  layer(cull::checkpoint const& model, model_config const& config, int number, dense const& products);
  layer(layer const&) = delete;
  layer& operator=(layer const&) = delete;

  int number() const { return number_; }
  bool has_indexer() const { return full_; }

  /// Takes the tokens at `places` one layer on, `hidden` `[m, hidden]` in place. Tokens of a sequence arrive in order.
  void operator()(matrix_view<float> hidden, std::span<token_place const> places, moe_watch const& watch) const;

  /// From now on as if the layer had only these routed experts; ids ascending.
  void keep_only(std::vector<int> const& kept) const { feed_forward_->keep_only(kept); }

 private:
  int number_;
  bool full_;
  rms_norm input_norm_, post_attention_norm_;
  std::unique_ptr<attention> attention_;
  std::unique_ptr<feed_forward> feed_forward_;
};

}  // namespace engine
