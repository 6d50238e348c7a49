// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include <cull/config.hpp>
#include <cull/executor.hpp>
#include <cull/expert/expert_norms.hpp>
#include <cull/expert/moe_layer.hpp>
#include <cull/expert/precision.hpp>
#include <cull/expert/run_experts.hpp>
#include <cull/router/route.hpp>
#include <cull/router/routing.hpp>
#include <cull/saliency/add.hpp>
#include <cull/saliency/block_effects.hpp>

CULL_NAMESPACE_BEGIN

/// A batch of a MoE block's inputs in host memory.
struct block_inputs {
  matrix_view<float const> router_input;       ///< [tokens, hidden]
  matrix_view<float const> expert_input = {};  ///< [tokens, hidden] or [tokens, latent], where experts see something else
  array_view<double const> weights = {};       ///< as in routed_tokens
  array_view<int const> sequence = {};
  array_view<int const> domain = {};
  /// [tokens, hidden], the hidden states that the block's output is added to; empty: `turned_gate_norm` sums nothing.
  matrix_view<float const> residual = {};
  bool leave_one_out = false;  ///< sum `leave_one_out_loss`: routes again and runs further experts, see `leave_one_out_losses`
};

/// Runs one MoE block: routes, runs each chosen expert once (dequantised on the fly), sums the routed output and observes.
///
/// Experts with a latent projection see it applied to their input, unless `expert_input` has the latent width already; norms are
/// those of the experts' own outputs, in latent space. With `gate_on_input` the norm is that of f(weight * x) and the gate
/// observed is 1, since the output is not weighted again. Zero-compute experts add to the output and are not observed.
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
    routed_tokens<> tokens;
    if constexpr (observation_slot<Measures...>::template has<measures::turned_gate_norm>) {
      if (in.residual.data() != nullptr) tokens.turns = turns(in.residual, y);
    }
    if constexpr (observation_slot<Measures...>::template has<measures::leave_one_out_loss>) {
      if (in.leave_one_out) tokens.losses = losses(in);
    }
    add_to(in, to, tokens);
    return y;
  }

  /// What the experts did, and no output: for blocks whose output nobody needs. Adds the same bits. Where the executor can take
  /// norms alone; measures of whole blocks sum nothing.
  template <measure... Measures>
  requires implemented_on<expert_norms_op, Exec>
  void observe(block_inputs const& in, observation_slot<Measures...> to) {
    tokens_ = in.router_input.rows();
    route_tokens(in.router_input);
    norms_.resize(static_cast<std::size_t>(tokens_ * router_.k()));
    expert_norms<Precision>(exec_, std::span{std::as_const(layer_->experts)}, expert_input(in), routing_.view(),
                            matrix_view<double>{norms_.data(), tokens_, router_.k()}, model_activation{layer_->activation},
                            use());
    add_to(in, to, {});
  }

  /// The routed output only.
  matrix_view<float const> run(block_inputs const& in) {
    tokens_ = in.router_input.rows();
    route_tokens(in.router_input);
    auto const x = expert_input(in);
    auto const pairs = tokens_ * router_.k();
    auto const outputs = resized(outputs_, pairs, x.cols());
    run_experts<Precision>(exec_, std::span{std::as_const(layer_->experts)}, x, routing_.view(), outputs,
                           model_activation{layer_->activation}, use());
    norms_.resize(static_cast<std::size_t>(pairs));
    auto const sum = resized(sum_, tokens_, x.cols());
    combine(exec_, output_gates(), matrix_view<float const>{outputs}, sum,
            matrix_view<double>{norms_.data(), tokens_, router_.k()});
    if (!layer_->has_latent()) return sum;
    auto const y = resized(leaving_, tokens_, layer_->hidden());
    matmul<Precision>(exec_, sum, layer_->latent_out, y);
    return y;
  }

  /// Chosen experts and their weights of the last batch, [tokens, k].
  cull::routing<> routing() const { return routing_.view(); }
  /// Norms of the raw expert outputs of the last batch, [tokens, k].
  matrix_view<double const> norms() const { return {norms_.data(), tokens_, router_.k()}; }

 private:
  expert_use use() const { return {.gate_on_input = layer_->router.gate_on_input, .zero_experts = layer_->router.zero_experts}; }

  template <measure... Measures>
  void add_to(block_inputs const& in, observation_slot<Measures...> to, routed_tokens<> tokens) {
    tokens.norms = norms();
    tokens.weights = in.weights;
    tokens.sequence = in.sequence;
    tokens.domain = in.domain;
    tokens.zero_experts = layer_->router.zero_experts;
    add(exec_, to, output_gates(), tokens);
  }

  void route_tokens(matrix_view<float const> x) {
    auto const logits = resized(logits_, x.rows(), layer_->router_rows());
    router_logits<Precision>(exec_, x, layer_->router_weight, logits);
    route(exec_, router_, matrix_view<float const>{logits}, routing_);
    if (layer_->router.gate_on_input) ones_.assign(static_cast<std::size_t>(x.rows() * router_.k()), 1.0f);
  }

  array_view<double const> turns(matrix_view<float const> residual, matrix_view<float const> y) {
    turns_.resize(static_cast<std::size_t>(y.rows()));
    residual_turns(exec_, residual, y, array_view<double>{turns_});
    return turns_;
  }

  matrix_view<double const> losses(block_inputs const& in) {
    losses_.resize(norms_.size());
    auto const x = expert_input(in);
    auto const pairs = tokens_ * router_.k();
    leave_one_out_losses<Precision>(exec_, router_, *layer_,
                                    routed_block<>{.logits = {logits_.data(), tokens_, layer_->router_rows()},
                                                   .inputs = x,
                                                   .chosen = routing_.view(),
                                                   .outputs = {outputs_.data(), pairs, x.cols()}},
                                    matrix_view<double>{losses_.data(), tokens_, router_.k()});
    return {losses_.data(), tokens_, router_.k()};
  }

  matrix_view<float const> expert_input(block_inputs const& in) {
    auto const x = in.expert_input.data() != nullptr ? in.expert_input : in.router_input;
    bool const latent_already = in.expert_input.data() != nullptr && x.cols() == layer_->expert_width();
    if (!layer_->has_latent() || latent_already) return x;
    auto const latent = resized(entering_, x.rows(), layer_->expert_width());
    matmul<Precision>(exec_, x, layer_->latent_in, latent);
    return latent;
  }

  /// The routing with what multiplies the experts' outputs: its weights, or 1 where those went into the inputs.
  cull::routing<> output_gates() const {
    auto const chosen = routing_.view();
    if (!layer_->router.gate_on_input) return chosen;
    return {chosen.ids, matrix_view<float const>{ones_.data(), chosen.tokens(), chosen.k()}};
  }

  static matrix_view<float> resized(std::vector<float>& values, std::int64_t rows, std::int64_t cols) {
    values.resize(static_cast<std::size_t>(rows * cols));
    return {values.data(), rows, cols};
  }

  Exec exec_;
  Router router_;
  Layer const* layer_;
  std::int64_t tokens_ = 0;
  std::vector<float> logits_, ones_, entering_, outputs_, sum_, leaving_;
  std::vector<double> norms_, turns_, losses_;
  routing_buffer routing_;
};

CULL_NAMESPACE_END
