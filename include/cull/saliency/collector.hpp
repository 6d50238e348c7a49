// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <cull/config.hpp>
#include <cull/executor.hpp>
#include <cull/expert/moe_layer.hpp>
#include <cull/expert/precision.hpp>
#include <cull/expert/run_experts.hpp>
#include <cull/router/route.hpp>
#include <cull/router/routing.hpp>
#include <cull/saliency/add.hpp>

CULL_NAMESPACE_BEGIN

/// A batch of a MoE block's inputs in host memory.
struct block_inputs {
  matrix_view<float const> router_input;       ///< [tokens, hidden]
  matrix_view<float const> expert_input = {};  ///< [tokens, hidden], where experts see something else than the router
  array_view<double const> weights = {};       ///< as in routed_tokens
  array_view<int const> sequence = {};
  array_view<int const> domain = {};
};

/// Runs one MoE block: routes, runs each chosen expert once (dequantised on the fly), sums the routed output and observes.
///
/// A token's output, routing and norms do not depend on its companions or on threads; together with the exact sums of the
/// observation, calibration is bit-reproducible. Holds a reference to `layer`, and buffers that the returned views point into: a
/// view is valid until the next call. Throws what routing, experts and `add` throw.
template <class Exec, router Router, class Layer = moe_layer<>, class Precision = f32_precision>
class collector {
 public:
  collector(Exec exec, Router router, Layer const& layer, Precision = {})
      : exec_(std::move(exec)), router_(std::move(router)), layer_(&layer) {}
  collector(Exec, Router, Layer const&&, Precision = {}) = delete;

  /// The block's routed output [tokens, hidden]; what the experts did is added to `to`.
  template <measure... Measures>
  matrix_view<float const> operator()(block_inputs const& in, observation_slot<Measures...> to) {
    auto const y = run(in);
    add(exec_, to, routing_.view(), {.norms = norms(), .weights = in.weights, .sequence = in.sequence, .domain = in.domain});
    return y;
  }

  /// The routed output only.
  matrix_view<float const> run(block_inputs const& in) {
    auto const x = in.expert_input.data() != nullptr ? in.expert_input : in.router_input;
    auto const tokens = in.router_input.rows();
    tokens_ = tokens;
    hidden_ = x.cols();
    route_tokens(in.router_input);
    auto const pairs = tokens * router_.k();
    outputs_.resize(static_cast<std::size_t>(pairs * hidden_));
    norms_.resize(static_cast<std::size_t>(pairs));
    sum_.resize(static_cast<std::size_t>(tokens * hidden_));
    matrix_view<float> const outputs{outputs_.data(), pairs, hidden_};
    run_experts<Precision>(exec_, std::span{std::as_const(layer_->experts)}, x, routing_.view(), outputs);
    matrix_view<float> const y{sum_.data(), tokens, hidden_};
    combine(exec_, routing_.view(), matrix_view<float const>{outputs}, y,
            matrix_view<double>{norms_.data(), tokens, router_.k()});
    return y;
  }

  /// Chosen experts and their weights of the last batch, [tokens, k].
  cull::routing<> routing() const { return routing_.view(); }
  /// Norms of the raw expert outputs of the last batch, [tokens, k].
  matrix_view<double const> norms() const { return {norms_.data(), tokens_, router_.k()}; }

 private:
  void route_tokens(matrix_view<float const> x) {
    auto const experts = static_cast<std::int64_t>(layer_->experts.size());
    logits_.resize(static_cast<std::size_t>(x.rows() * experts));
    matrix_view<float> const logits{logits_.data(), x.rows(), experts};
    router_logits<Precision>(exec_, x, layer_->router_weight, logits);
    route(exec_, router_, logits, routing_);
  }

  Exec exec_;
  Router router_;
  Layer const* layer_;
  std::int64_t tokens_ = 0;
  std::int64_t hidden_ = 0;
  std::vector<float> logits_, outputs_, sum_;
  std::vector<double> norms_;
  routing_buffer routing_;
};

CULL_NAMESPACE_END
