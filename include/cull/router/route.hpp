// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/executor.hpp>
#include <cull/router/routing.hpp>
#include <cull/router/stage.hpp>

CULL_NAMESPACE_BEGIN

struct route_op;

/// Routes every row of `logits` [tokens, experts] (f32, as the model computes them): fills `out` with ids (ascending) and weights
/// [tokens, k]. Rows do not depend on each other, so neither on the batch nor on the number of threads.
/// Throws `errc::not_finite` (a logit is NaN or infinite), and what the stages' checks throw: k, groups or bias that do not fit.
template <class Exec, router R, class T>
requires std::same_as < std::remove_const_t<T>,
float > &&implemented_on<route_op, Exec>&& stage_in<R, typename Exec::memory_space> void route(
            Exec const& exec, R const& router, matrix_view<T, typename Exec::memory_space> logits, routing_buffer& out) {
  if constexpr (requires { router.check(logits.cols()); }) router.check(logits.cols());
  out.resize(logits.rows(), router.k());
  impl<route_op, Exec>::run(exec, router, matrix_view<float const, typename Exec::memory_space>{logits}, out);
}

CULL_NAMESPACE_END
