// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cull/config.hpp>
#include <cull/router/candidates.hpp>
#include <cull/router/choose.hpp>
#include <cull/router/score.hpp>
#include <cull/router/settings.hpp>
#include <cull/router/stage.hpp>

CULL_NAMESPACE_BEGIN

/// The router a model's config.json describes: the stages of this room, chosen at run time. Itself a stage, so that
/// `keep_only(kept) | model_router(layer)` routes as the pruned model will. An empty bias means none.
/// Source: DeepSeek-V3 and GLM `noaux_tc` (sigmoid, choice-only bias, groups, sum + 1e-20, scaling), softmax top-k elsewhere.
class model_router {
 public:
  static constexpr row_part reads = row_part::logits;
  static constexpr row_part writes = row_part::scores | row_part::choice | row_part::chosen;
  static constexpr row_part before = row_part::scores | row_part::chosen;

  model_router(router_settings settings, array_view<float const> bias) : settings_(settings), bias_(bias) {}

  /// From anything that has `.router` settings and `.correction_bias`, such as `moe_layer`; the layer must outlive the router.
  template <class Layer>
    requires requires(Layer const& layer) {
      router_settings{layer.router};
      array_view<float const>{layer.correction_bias};
    }
  explicit model_router(Layer const& layer) : model_router(layer.router, layer.correction_bias) {}

  CULL_HD void operator()(row_ref row) const {
    if (settings_.scoring == scoring::sigmoid) {
      score<sigmoid>()(row);
    } else {
      score<softmax>()(row);
    }
    if (!bias_.empty()) prefer{bias_}(row);
    if (settings_.group_score == group_scoring::sum_of_two) {
      within_groups(settings_.groups, settings_.top_groups, sum_of_two{})(row);
    } else {
      within_groups(settings_.groups, settings_.top_groups, maximum{})(row);
    }
    choose(settings_.top_k)(row);
    if (settings_.renormalize == renormalization::on) renormalize{settings_.epsilon}(row);
    if (settings_.scaling != 1.0f) scale{settings_.scaling}(row);
  }

  void check(std::int64_t experts) const {
    if (!bias_.empty()) prefer{bias_}.check(experts);
    if (settings_.group_score == group_scoring::sum_of_two) {
      within_groups(settings_.groups, settings_.top_groups, sum_of_two{}).check(experts);
    } else {
      within_groups(settings_.groups, settings_.top_groups, maximum{}).check(experts);
    }
    choose(settings_.top_k).check(experts);
  }
  constexpr int k() const { return settings_.top_k; }

 private:
  router_settings settings_;
  array_view<float const> bias_;
};

static_assert(router<model_router>);

CULL_NAMESPACE_END
