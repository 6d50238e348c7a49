// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <span>
#include <string>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/executor.hpp>
#include <cull/expert/run_experts.hpp>

CULL_NAMESPACE_BEGIN

struct expert_norms_op;

/// What saliency needs of a layer whose routed output somebody else computes: `norms` [tokens, k] = ||f_j(x_t)|| of every chosen
/// expert j = ids(t, i), as `run_experts` and `combine` would give it, without storing f_j(x).
/// Batch-invariant. Throws as `run_experts` does.
template <class Precision = f32_precision, class Activation = silu, class Exec, class M, class X>
requires(std::same_as<std::remove_const_t<X>, float>&& implemented_on<expert_norms_op, Exec>) void expert_norms(
    Exec const& exec, std::span<gated_expert<M> const> experts, matrix_view<X, typename Exec::memory_space> x,
    routing<typename Exec::memory_space> const& chosen, matrix_view<double, typename Exec::memory_space> norms,
    Activation activation = {}, expert_use use = {}) {
  static_assert(detail::matrix_of<M, Exec>, "expert_norms: the experts lie in another memory than the executor works on");
  if (x.rows() != chosen.tokens() || norms.rows() != chosen.tokens() || norms.cols() != chosen.k()) {
    throw error{errc::shape_mismatch, "expert_norms: x " + std::to_string(x.rows()) + " x " + std::to_string(x.cols()) +
                                          ", norms " + std::to_string(norms.rows()) + " x " + std::to_string(norms.cols()) +
                                          "; needed are x [tokens, hidden], norms [tokens, k]"};
  }
  impl<expert_norms_op, Exec>::template run<Precision>(exec, experts, matrix_view<float const, typename Exec::memory_space>{x},
                                                       chosen, norms, activation, use);
}

CULL_NAMESPACE_END
