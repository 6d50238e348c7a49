// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <type_traits>
#include <utility>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/executor.hpp>
#include <cull/expert/activation.hpp>
#include <cull/expert/precision.hpp>
#include <cull/tensor/any_matrix.hpp>
#include <cull/tensor/view.hpp>

CULL_NAMESPACE_BEGIN

/// Weights of an expert: gate and up [width, hidden], down [hidden, width]; a gate of 0 rows means that the expert is not gated.
/// Biases are f32 values in the same memory, [width], [width] and [hidden], or empty where there is none.
template <class M = weight_matrix>
struct gated_expert {
  using bias_view = array_view<float const, typename detail::memory_of<M>::type>;

  M gate;
  M up;
  M down;
  bias_view gate_bias = {};
  bias_view up_bias = {};
  bias_view down_bias = {};
};

struct expert_mlp_op;

/// y = down(act(gate x, up x)), or down(act(up x)) where the expert is not gated, for x [tokens, hidden], y [tokens, hidden], in f32
/// between the products; a bias is added in f32 to its product.
/// Batch-invariant as `matmul`: a token's result does not depend on its companions. Throws `errc::shape_mismatch`, and
/// `errc::out_of_range` where the activation cannot be called as the expert needs it: act(gate, up), or act(x) without a gate.
template <class Precision = f32_precision, class Activation = silu, class Exec, class M, class X>
  requires std::same_as<std::remove_const_t<X>, float> && implemented_on<expert_mlp_op, Exec>
void expert_mlp(Exec const& exec, gated_expert<M> const& expert, matrix_view<X, typename Exec::memory_space> x,
                matrix_view<float, typename Exec::memory_space> y, Activation activation = {}) {
  static_assert(detail::matrix_of<M, Exec>, "expert_mlp: the expert lies in another memory than the executor works on");
  impl<expert_mlp_op, Exec>::template run<Precision>(exec, expert, matrix_view<float const, typename Exec::memory_space>{x}, y,
                                                     activation);
}

CULL_NAMESPACE_END
