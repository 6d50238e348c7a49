// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include <cull/config.hpp>
#include <cull/expert/expert_mlp.hpp>
#include <cull/expert/matmul.hpp>
#include <cull/router/settings.hpp>
#include <cull/tensor/any_matrix.hpp>

CULL_NAMESPACE_BEGIN

/// A Mixture-of-Experts block's routed part: views of its weights where they lie, so the checkpoint must outlive it.
template <class M = weight_matrix>
struct moe_layer {
  int number = 0;                            ///< of the layer in the model
  router_settings router;
  M router_weight;                           ///< [experts, hidden]
  std::vector<float> correction_bias;        ///< [experts], or empty
  std::vector<gated_expert<M>> experts;

  std::int64_t hidden() const {
    return visit_matrix(router_weight, [](auto const& m) { return m.cols; });
  }
};

/// Logits [tokens, experts] of a router: x [tokens, hidden] times its weight, f32 as models ask for (`moe_router_dtype`).
template <class Precision = f32_precision, class Exec, class X, class M>
void router_logits(Exec const& exec, matrix_view<X, typename Exec::memory_space> x, M const& router_weight,
                   matrix_view<float, typename Exec::memory_space> logits) {
  matmul<Precision>(exec, x, router_weight, logits);
}

CULL_NAMESPACE_END
