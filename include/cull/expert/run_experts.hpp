// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/executor.hpp>
#include <cull/expert/expert_mlp.hpp>
#include <cull/expert/precision.hpp>
#include <cull/router/routing.hpp>
#include <cull/tensor/view.hpp>

CULL_NAMESPACE_BEGIN

/// How a layer uses its experts, beside their weights and activation.
struct expert_use {
  bool gate_on_input = false;  ///< an expert sees its routing weight times x, rounded to f32
  int zero_experts = 0;        ///< ids after the last expert: experts f(x) = x
};

struct run_experts_op;

/// Runs every chosen expert once over its tokens: row `t * k + i` of `outputs` [tokens * k, hidden] becomes the raw output
/// f_j(x_t) of j = ids(t, i), before the gate; with `use.gate_on_input` f_j(weights(t, i) x_t). Experts that no token chose are not
/// touched.
/// Batch-invariant as `expert_mlp`. Throws `errc::shape_mismatch`, `errc::out_of_range` for an id that is none.
template <class Precision = f32_precision, class Activation = silu, class Exec, class M, class X>
requires std::same_as < std::remove_const_t<X>,
float > &&implemented_on<run_experts_op, Exec> void run_experts(Exec const& exec, std::span<gated_expert<M> const> experts,
                                                                matrix_view<X, typename Exec::memory_space> x,
                                                                routing<typename Exec::memory_space> const& chosen,
                                                                matrix_view<float, typename Exec::memory_space> outputs,
                                                                Activation activation = {}, expert_use use = {}) {
  static_assert(detail::matrix_of<M, Exec>, "run_experts: the experts lie in another memory than the executor works on");
  if (x.rows() != chosen.tokens() || outputs.rows() != chosen.tokens() * chosen.k() || outputs.cols() != x.cols()) {
    throw error{errc::shape_mismatch, "run_experts: x " + std::to_string(x.rows()) + " x " + std::to_string(x.cols()) +
                                          ", outputs " + std::to_string(outputs.rows()) + " x " + std::to_string(outputs.cols()) +
                                          "; needed are x [tokens, hidden], outputs [tokens * k, hidden]"};
  }
  impl<run_experts_op, Exec>::template run<Precision>(exec, experts, matrix_view<float const, typename Exec::memory_space>{x},
                                                      chosen, outputs, activation, use);
}

struct combine_op;

/// From raw outputs [tokens * k, hidden] to the block's routed output and the norms that saliency wants:
/// `y` [tokens, hidden] = sum over the chosen, ascending by id, of weight * f (f64, rounded to f32 once);
/// `norms` [tokens, k] = ||f|| in f64. Where gates were applied to the experts' inputs, `chosen` has weights of 1. Throws `errc::shape_mismatch`.
template <class Exec>
requires implemented_on<combine_op, Exec>
void combine(Exec const& exec, routing<typename Exec::memory_space> const& chosen,
             matrix_view<float const, typename Exec::memory_space> outputs, matrix_view<float, typename Exec::memory_space> y,
             matrix_view<double, typename Exec::memory_space> norms) {
  if (outputs.rows() != chosen.tokens() * chosen.k() || y.rows() != chosen.tokens() || y.cols() != outputs.cols() ||
      norms.rows() != chosen.tokens() || norms.cols() != chosen.k()) {
    throw error{errc::shape_mismatch, "combine: needed are outputs [tokens * k, hidden], y [tokens, hidden], norms [tokens, k]"};
  }
  impl<combine_op, Exec>::run(exec, chosen, outputs, y, norms);
}

CULL_NAMESPACE_END
