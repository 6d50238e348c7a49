// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include <cull/cpu/matmul.hpp>
#include <cull/expert/expert_mlp.hpp>

CULL_NAMESPACE_BEGIN

/// Reference: three products and the activation between them.
template <>
struct impl<expert_mlp_op, on_cpu> {
  template <class Precision, class M, class Activation>
  static void run(on_cpu const& exec, gated_expert<M> const& expert, matrix_view<float const> x, matrix_view<float> y,
                  Activation activation) {
    auto const width = visit_matrix(expert.gate, [](auto const& m) { return m.rows; });
    std::vector<float> gated(static_cast<std::size_t>(x.rows() * width));
    std::vector<float> up(gated.size());
    matrix_view<float> const hidden{gated.data(), x.rows(), width};
    matmul<Precision>(exec, x, expert.gate, hidden);
    matmul<Precision>(exec, x, expert.up, matrix_view<float>{up.data(), x.rows(), width});
    for (std::size_t i = 0; i < gated.size(); ++i) gated[i] = activation(gated[i], up[i]);
    matmul<Precision>(exec, hidden, expert.down, y);
  }
};

CULL_NAMESPACE_END
