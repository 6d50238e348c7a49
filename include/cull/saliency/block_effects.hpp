// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/executor.hpp>
#include <cull/router/routing.hpp>
#include <cull/router/stage.hpp>
#include <cull/tensor/view.hpp>

CULL_NAMESPACE_BEGIN

struct residual_turn_op;

/// How far a block's routed output y turns the residual h: `turns` [tokens] = max(0, 1 - cos(h, h + y)), in f64; 0 where one of
/// both vectors is zero. Source: EASY-EP's token weight. Throws `errc::shape_mismatch`.
template <class Exec>
requires implemented_on<residual_turn_op, Exec>
void residual_turns(Exec const& exec, matrix_view<float const, typename Exec::memory_space> residual,
                    matrix_view<float const, typename Exec::memory_space> y,
                    array_view<double, typename Exec::memory_space> turns) {
  if (residual.rows() != y.rows() || residual.cols() != y.cols() || turns.size() != y.rows()) {
    throw error{errc::shape_mismatch, "residual_turns: needed are residual and y [tokens, hidden], turns [tokens]"};
  }
  impl<residual_turn_op, Exec>::run(exec, residual, y, turns);
}

/// What a routing was made from and led to.
template <class Space = host_memory>
struct routed_block {
  matrix_view<float const, Space> logits;   ///< [tokens, router rows]
  matrix_view<float const, Space> inputs;   ///< [tokens, width]: what experts see
  routing<Space> chosen;                    ///< [tokens, k]
  matrix_view<float const, Space> outputs;  ///< [tokens * k, width]: raw outputs of the chosen
};

struct leave_one_out_op;

/// What the routed output loses without one expert: `losses` [tokens, k], losses(t, i) = ||y_t - y'_t||^2 in f64, where y' is the
/// routed output of the same layer without expert ids(t, i): the token is routed again among the others, as in a model pruned of
/// that one, and experts that it did not have before are run. Gates in f32, sums in f64 over experts in ascending order; width is
/// the experts' own (latent where they have one). 0 for zero-compute experts.
/// Costs k routings per token and, without groups, one more expert for every k chosen ones.
/// Throws `errc::out_of_range` where the router has too few candidates left.
template <class Precision, class Exec, router Router, class Layer>
requires implemented_on<leave_one_out_op, Exec>
void leave_one_out_losses(Exec const& exec, Router const& router, Layer const& layer,
                          routed_block<typename Exec::memory_space> const& block,
                          matrix_view<double, typename Exec::memory_space> losses) {
  if (losses.rows() != block.chosen.tokens() || losses.cols() != block.chosen.k()) {
    throw error{errc::shape_mismatch, "leave_one_out_losses: losses must be [tokens, k]"};
  }
  impl<leave_one_out_op, Exec>::template run<Precision>(exec, router, layer, block, losses);
}

CULL_NAMESPACE_END
