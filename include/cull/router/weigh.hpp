// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/numeric/exp.hpp>
#include <cull/router/stage.hpp>

CULL_NAMESPACE_BEGIN

/// Replaces the chosen weights by the softmax of their logits over the chosen (GPT-OSS): e^(x - max) in f32, summed in f64 in
/// ascending id, divided in f32. Right after the choice, and only where the choice went by logits (`score<unscored>()`).
struct softmax_weights {
  static constexpr row_part reads = row_part::chosen | row_part::logit_scores;
  static constexpr row_part writes = row_part::weights;
  static constexpr row_part before = row_part::weights;

  CULL_HD void operator()(row_ref row) const {
    if (row.ids.empty()) return;
    float top = row.scores[row.ids[0]];
    for (auto const id : row.ids) top = row.scores[id] > top ? row.scores[id] : top;
    double sum = 0.0;
    for (std::int64_t i = 0; i < row.ids.size(); ++i) {
      row.weights[i] = exp_f32(row.scores[row.ids[i]] - top);
      sum += row.weights[i];
    }
    auto const divisor = static_cast<float>(sum);
    for (auto& w : row.weights) w = w / divisor;
  }
};

/// Replaces the chosen weights by 1 / (1 + e^-x) of their logits in f32 (Llama 4). Where `softmax_weights` may stand.
struct sigmoid_weights {
  static constexpr row_part reads = softmax_weights::reads;
  static constexpr row_part writes = row_part::weights;
  static constexpr row_part before = row_part::weights;

  CULL_HD void operator()(row_ref row) const {
    for (std::int64_t i = 0; i < row.ids.size(); ++i) row.weights[i] = sigmoid_f32(row.scores[row.ids[i]]);
  }
};

/// Replaces the chosen weights by their choice scores, so that what `prefer` added counts in the output too.
struct choice_weights {
  static constexpr row_part reads = row_part::chosen | row_part::choice;
  static constexpr row_part writes = row_part::weights;
  static constexpr row_part before = row_part::weights;

  CULL_HD void operator()(row_ref row) const {
    for (std::int64_t i = 0; i < row.ids.size(); ++i) row.weights[i] = row.choice[row.ids[i]];
  }
};

CULL_HD constexpr softmax_weights weigh_by_softmax() { return {}; }
CULL_HD constexpr sigmoid_weights weigh_by_sigmoid() { return {}; }
CULL_HD constexpr choice_weights weigh_by_choice() { return {}; }

CULL_NAMESPACE_END
