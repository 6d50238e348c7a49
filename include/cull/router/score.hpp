// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/numeric/exp.hpp>
#include <cull/router/stage.hpp>

CULL_NAMESPACE_BEGIN

/// Each logit on its own: 1 / (1 + e^-x) in f32.
struct sigmoid {
  CULL_HD void operator()(row_ref row) const {
    for (auto& s : row.scores) s = sigmoid_f32(s);
  }
};

/// Over the candidates: e^(x - max) in f32, summed in f64 in ascending id, divided in f32.
struct softmax {
  CULL_HD void operator()(row_ref row) const {
    std::int64_t best = -1;
    for (std::int64_t e = 0; e < row.experts(); ++e) {
      if (row.candidate[e] && (best < 0 || row.scores[e] > row.scores[best])) best = e;
    }
    if (best < 0) return;
    float const top = row.scores[best];
    double sum = 0.0;
    for (std::int64_t e = 0; e < row.experts(); ++e) {
      row.scores[e] = row.candidate[e] ? exp_f32(row.scores[e] - top) : 0.0f;
      sum += row.scores[e];
    }
    auto const divisor = static_cast<float>(sum);
    for (auto& s : row.scores) s = s / divisor;
  }
};

/// Leaves the logits as they are: the choice goes by logits.
struct unscored {
  static constexpr row_part also_writes = row_part::logit_scores;

  CULL_HD void operator()(row_ref) const {}
};

namespace detail {

template <class Function>
constexpr row_part also_written_by() {
  if constexpr (requires { Function::also_writes; }) return Function::also_writes;
  return row_part::none;
}

}  // namespace detail

/// Turns logits into scores, which are also the choice scores until `prefer` changes those.
template <class Function>
struct score_stage {
  static constexpr row_part reads = row_part::logits;
  static constexpr row_part writes = row_part::scores | row_part::choice | detail::also_written_by<Function>();
  static constexpr row_part before = row_part::scores | row_part::chosen;

  Function function{};

  CULL_HD void operator()(row_ref row) const {
    function(row);
    for (std::int64_t e = 0; e < row.experts(); ++e) row.choice[e] = row.scores[e];
  }
};

/// `score<sigmoid>()`, `score<softmax>()`, `score<unscored>()`, or any function object over a row that replaces logits by scores.
template <class Function>
CULL_HD constexpr score_stage<Function> score(Function function = {}) {
  return {function};
}

CULL_NAMESPACE_END
