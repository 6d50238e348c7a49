// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <cull/router.hpp>
#include <cull/saliency.hpp>

#include <engine/dense.hpp>
#include <engine/model_config.hpp>
#include <engine/stage_times.hpp>

namespace engine {

using observation = cull::block_observation;

/// What a batch's MoE layers report, and to whom.
struct moe_watch {
  observation* observer = nullptr;
  cull::array_view<double const> weights = {};  ///< per token; these three only matter to `observer`
  cull::array_view<int const> sequence = {};
  cull::array_view<int const> domain = {};
  matrix_view<float const> residual = {};  ///< hidden states before the block
  bool leave_one_out = false;
  std::function<void(cull::routing<> const&)> routing = {};
  stage_times* times = nullptr;
};

/// down(silu(gate x) * up x).
class gated_mlp {
 public:
  /// `prefix` ends in a dot; `width`: rows of gate and up.
  gated_mlp(cull::checkpoint const& model, std::string const& prefix, std::int64_t hidden, std::int64_t width,
            dense const& products);
  buffer operator()(matrix_view<float const> x) const;

 private:
  dense const& products_;
  cull::gated_expert<> weights_;
};

/// The part of a layer behind attention.
class feed_forward {
 public:
  virtual ~feed_forward() = default;
  /// Output `[m, hidden]` for the normed input `x`.
  virtual buffer operator()(matrix_view<float const> x, moe_watch const& watch) = 0;
  /// From now on as if the layer had only these routed experts; ids ascending. Nothing for dense layers.
  virtual void keep_only(std::vector<int> const&) {}
};

/// Dense, or routed experts and a shared one, as config.json has it for that layer.
std::unique_ptr<feed_forward> load_feed_forward(cull::checkpoint const& model, model_config const& config, int layer,
                                                dense const& products);

}  // namespace engine
