// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/router/candidates.hpp>
#include <cull/router/choose.hpp>
#include <cull/router/logit_bias.hpp>
#include <cull/router/score.hpp>
#include <cull/router/settings.hpp>
#include <cull/router/stage.hpp>
#include <cull/router/weigh.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

template <class Layer>
array_view<float const> router_bias_of(Layer const& layer) {
  if constexpr (requires { array_view<float const>{layer.router_bias}; }) {
    return layer.router_bias;
  } else {
    return {};
  }
}

}  // namespace detail

/// The router a model's config.json describes: the stages of this room, chosen at run time. Itself a stage, so that
/// `keep_only(kept) | model_router(layer)` routes as the pruned model will. An empty bias means none.
/// Source: DeepSeek-V3 and GLM `noaux_tc` (sigmoid, choice-only bias, groups, sum + 1e-20, scaling), GPT-OSS (softmax of the
/// chosen logits, logit bias), Llama 4 (sigmoid of the chosen logit), ERNIE 4.5 (least denominator), softmax top-k elsewhere.
///
/// `model_router` has its biases in the host's memory, `basic_model_router<device_memory>` in a device's.
template <class Space = host_memory>
class basic_model_router {
 public:
  using memory_space = Space;
  static constexpr row_part reads = row_part::logits;
  static constexpr row_part writes = row_part::scores | row_part::choice | row_part::chosen | row_part::weights;
  static constexpr row_part before = row_part::scores | row_part::chosen;

  basic_model_router(router_settings settings, array_view<float const, Space> correction_bias,
                     array_view<float const, Space> logit_bias = {})
      : settings_(settings), bias_(correction_bias), logit_bias_(logit_bias) {}

  /// From anything that has `.router` settings and `.correction_bias` (and, it may be, `.router_bias` for the logits), such as
  /// `moe_layer`; the layer must outlive the router.
  template <class Layer>
  requires std::same_as<Space, host_memory> && requires(Layer const& layer) {
    router_settings{layer.router};
    array_view<float const>{layer.correction_bias};
  }
  explicit basic_model_router(Layer const& layer)
      : basic_model_router(layer.router, layer.correction_bias, detail::router_bias_of(layer)) {}

  CULL_HD void operator()(row_ref row) const {
    for_each_stage([row](auto const& stage) { stage(row); });
  }

  /// Calls `apply(stage)` for the stages that the settings ask for, in order.
  CULL_EXEC_CHECK_OFF
  template <class Apply>
  CULL_HD void for_each_stage(Apply apply) const {
    if (!logit_bias_.empty()) apply(add_logit_bias<Space>{logit_bias_});
    give_scores(apply);
    if (!bias_.empty()) apply(prefer<Space>{bias_});
    if (settings_.group_score == group_scoring::sum_of_two) {
      apply(within_groups(settings_.groups, settings_.top_groups, sum_of_two{}));
    } else {
      apply(within_groups(settings_.groups, settings_.top_groups, maximum{}));
    }
    apply(choose_stage{settings_.top_k});
    give_weights(apply);
  }

  /// Throws `errc::out_of_range` for settings that contradict each other, and what the stages throw.
  void check(std::int64_t experts) const {
    if (!logit_bias_.empty()) add_logit_bias<Space>{logit_bias_}.check(experts);
    if (!bias_.empty()) prefer<Space>{bias_}.check(experts);
    if (settings_.group_score == group_scoring::sum_of_two) {
      within_groups(settings_.groups, settings_.top_groups, sum_of_two{}).check(experts);
    } else {
      within_groups(settings_.groups, settings_.top_groups, maximum{}).check(experts);
    }
    choose(settings_.top_k).check(experts);
    if (settings_.zero_experts < 0 || settings_.zero_experts >= experts) {
      throw error{errc::out_of_range, "model_router: " + std::to_string(settings_.zero_experts) + " zero-compute experts of " +
                                          std::to_string(experts) + " router rows"};
    }
    if (settings_.bias_in_weight && weighs_chosen_logits()) {
      throw error{errc::out_of_range, "model_router: bias_in_weight needs scoring by softmax or sigmoid of all experts"};
    }
  }
  constexpr int k() const { return settings_.top_k; }

 private:
  CULL_HD constexpr bool weighs_chosen_logits() const {
    return settings_.scoring == scoring::softmax_of_chosen || settings_.scoring == scoring::sigmoid_of_chosen;
  }

  CULL_EXEC_CHECK_OFF
  template <class Apply>
  CULL_HD void give_scores(Apply apply) const {
    switch (settings_.scoring) {
      case scoring::softmax:
        return apply(score_stage<softmax>{});
      case scoring::sigmoid:
        return apply(score_stage<sigmoid>{});
      case scoring::softmax_of_chosen:
      case scoring::sigmoid_of_chosen:
        return apply(score_stage<unscored>{});
    }
  }

  CULL_EXEC_CHECK_OFF
  template <class Apply>
  CULL_HD void give_weights(Apply apply) const {
    if (settings_.scoring == scoring::softmax_of_chosen) apply(softmax_weights{});
    if (settings_.scoring == scoring::sigmoid_of_chosen) apply(sigmoid_weights{});
    if (settings_.bias_in_weight) apply(choice_weights{});
    if (settings_.renormalize == renormalization::on) apply(renormalize{settings_.epsilon, settings_.minimum});
    if (settings_.scaling != 1.0f) apply(scale{settings_.scaling});
  }

  router_settings settings_;
  array_view<float const, Space> bias_;
  array_view<float const, Space> logit_bias_;
};

using model_router = basic_model_router<>;

static_assert(router<model_router>);

CULL_NAMESPACE_END
