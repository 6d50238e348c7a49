// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <cull/config.hpp>
#include <cull/expert/activation.hpp>
#include <cull/expert/expert_mlp.hpp>
#include <cull/expert/matmul.hpp>
#include <cull/router/settings.hpp>
#include <cull/tensor/any_matrix.hpp>

CULL_NAMESPACE_BEGIN

/// A Mixture-of-Experts block's routed part: views of its weights where they lie, so the checkpoint must outlive it.
template <class M = weight_matrix>
struct moe_layer {
  int number = 0;                        ///< of the layer in the model
  router_settings router;
  M router_weight;                       ///< [experts + router.zero_experts, hidden]
  std::vector<float> correction_bias;    ///< one value per router row, or empty
  std::vector<gated_expert<M>> experts;  ///< those with weights
  std::vector<float> router_bias = {};   ///< added to the logits: one value per router row, or empty
  activation_settings activation = {};
  M latent_in = {};                      ///< [latent, hidden]: experts see latent_in x; no rows where there is none
  M latent_out = {};                     ///< [hidden, latent], applied to the experts' weighted sum
  std::shared_ptr<std::vector<float> const> bias_values = {};  ///< what the experts' biases may point into, kept with the layer

  std::int64_t hidden() const {
    return visit_matrix(router_weight, [](auto const& m) { return m.cols; });
  }
  /// Width of what experts see and give: `hidden()`, or the latent width.
  std::int64_t expert_width() const { return has_latent() ? rows(latent_in) : hidden(); }
  bool has_latent() const { return rows(latent_in) > 0; }
  /// Experts that the router knows, zero-compute ones included.
  std::int64_t router_rows() const { return static_cast<std::int64_t>(experts.size()) + router.zero_experts; }

 private:
  static std::int64_t rows(M const& m) {
    return visit_matrix(m, [](auto const& known) { return known.rows; });
  }
};

/// Logits [tokens, experts] of a router: x [tokens, hidden] times its weight, f32 as models ask for (`moe_router_dtype`).
template <class Precision = f32_precision, class Exec, class X, class M>
void router_logits(Exec const& exec, matrix_view<X, typename Exec::memory_space> x, M const& router_weight,
                   matrix_view<float, typename Exec::memory_space> logits) {
  matmul<Precision>(exec, x, router_weight, logits);
}

CULL_NAMESPACE_END
