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
class model_router {
 public:
  static constexpr row_part reads = row_part::logits;
  static constexpr row_part writes = row_part::scores | row_part::choice | row_part::chosen | row_part::weights;
  static constexpr row_part before = row_part::scores | row_part::chosen;

  model_router(router_settings settings, array_view<float const> correction_bias, array_view<float const> logit_bias = {})
      : settings_(settings), bias_(correction_bias), logit_bias_(logit_bias) {}

  /// From anything that has `.router` settings and `.correction_bias` (and, it may be, `.router_bias` for the logits), such as
  /// `moe_layer`; the layer must outlive the router.
  template <class Layer>
  requires requires(Layer const& layer) {
    router_settings{layer.router};
    array_view<float const>{layer.correction_bias};
  }
  explicit model_router(Layer const& layer) : model_router(layer.router, layer.correction_bias, detail::router_bias_of(layer)) {}

  CULL_HD void operator()(row_ref row) const { for_each_stage(run_on{row}); }

  /// Calls `f(stage)` with each stage in turn: for executors that have ways of their own.
  template <class F>
  CULL_HD void for_each_stage(F const& f) const {
    if (!logit_bias_.empty()) f(add_logit_bias{logit_bias_});
    score_by(f);
    if (!bias_.empty()) f(prefer{bias_});
    if (settings_.group_score == group_scoring::sum_of_two) {
      f(within_groups(settings_.groups, settings_.top_groups, sum_of_two{}));
    } else {
      f(within_groups(settings_.groups, settings_.top_groups, maximum{}));
    }
    f(choose(settings_.top_k));
    weigh_by(f);
  }

  /// Throws `errc::out_of_range` for settings that contradict each other, and what the stages throw.
  void check(std::int64_t experts) const {
    if (!logit_bias_.empty()) add_logit_bias{logit_bias_}.check(experts);
    if (!bias_.empty()) prefer{bias_}.check(experts);
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

  struct run_on {
    row_ref row;

    template <class Stage>
    CULL_HD void operator()(Stage const& stage) const {
      stage(row);
    }
  };

  template <class F>
  CULL_HD void score_by(F const& f) const {
    switch (settings_.scoring) {
      case scoring::softmax:
        return f(score<softmax>());
      case scoring::sigmoid:
        return f(score<sigmoid>());
      case scoring::softmax_of_chosen:
      case scoring::sigmoid_of_chosen:
        return f(score<unscored>());
    }
  }

  template <class F>
  CULL_HD void weigh_by(F const& f) const {
    if (settings_.scoring == scoring::softmax_of_chosen) f(weigh_by_softmax());
    if (settings_.scoring == scoring::sigmoid_of_chosen) f(weigh_by_sigmoid());
    if (settings_.bias_in_weight) f(weigh_by_choice());
    if (settings_.renormalize == renormalization::on) f(renormalize{settings_.epsilon, settings_.minimum});
    if (settings_.scaling != 1.0f) f(scale{settings_.scaling});
  }

  router_settings settings_;
  array_view<float const> bias_;
  array_view<float const> logit_bias_;
};

static_assert(router<model_router>);

CULL_NAMESPACE_END
