// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/saliency/observation.hpp>
#include <cull/selection/top_k.hpp>

CULL_NAMESPACE_BEGIN

/// How many experts stay in each layer; with groups, the same number in each contiguous block of experts (group-limited routers).
struct keep {
  int count = 0;
  int groups = 1;
};

/// The keep-set of one layer, and how clear it is.
struct layer_selection {
  int layer = 0;
  int experts = 0;
  std::vector<int> kept;       ///< ascending
  std::vector<double> scores;  ///< of all experts
  /// (last kept - first dropped) / last kept, the smallest over groups; infinite where nothing is dropped, 0 at a tie.
  double margin = std::numeric_limits<double>::infinity();
  double cut_high = 0;    ///< score of the last kept expert (of the group with the smallest margin)
  double cut_low = 0;     ///< score of the first dropped one
  std::vector<int> tied;  ///< experts whose score is exactly that of a cut that splits equals; ascending
  std::vector<int> never_chosen;
};

struct selection {
  std::vector<layer_selection> layers;
};

namespace detail {

inline void measure_cut(layer_selection& out, int first, int size) {
  std::vector<double> kept, dropped;
  for (int e = first; e < first + size; ++e) {
    bool const stays = std::binary_search(out.kept.begin(), out.kept.end(), e);
    (stays ? kept : dropped).push_back(out.scores[static_cast<std::size_t>(e)]);
  }
  if (kept.empty() || dropped.empty()) return;
  double const high = *std::min_element(kept.begin(), kept.end());
  double const low = *std::max_element(dropped.begin(), dropped.end());
  double const margin = high > 0 ? (high - low) / high : (high == low ? 0.0 : high - low);
  if (margin < out.margin) {
    out.margin = margin;
    out.cut_high = high;
    out.cut_low = low;
  }
  if (high != low) return;
  for (int e = first; e < first + size; ++e) {
    if (out.scores[static_cast<std::size_t>(e)] == high) out.tied.push_back(e);
  }
}

}  // namespace detail

/// The keep-set of one layer from its scores: the best of each group, ties to the lower id.
/// Throws `errc::out_of_range` (a count or a number of groups that cannot be), `errc::not_finite`.
inline layer_selection select_layer(std::span<double const> scores, keep budget) {
  int const experts = static_cast<int>(scores.size());
  if (budget.groups < 1 || experts % budget.groups != 0 || budget.count % budget.groups != 0 || budget.count < 1 ||
      budget.count > experts) {
    throw error{errc::out_of_range, "select: cannot keep " + std::to_string(budget.count) + " of " + std::to_string(experts) +
                                        " experts in " + std::to_string(budget.groups) + " equal groups"};
  }
  layer_selection out;
  out.experts = experts;
  out.scores.assign(scores.begin(), scores.end());
  int const size = experts / budget.groups;
  for (int first = 0; first < experts; first += size) {
    auto const group = scores.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(size));
    for (int const id : top_k(group, budget.count / budget.groups)) out.kept.push_back(first + id);
  }
  for (int first = 0; first < experts; first += size) detail::measure_cut(out, first, size);
  return out;
}

/// Scores every expert of an observation by `score_of` (more is better) and keeps the best of each layer.
/// A function of the observation's bits alone. Throws `errc::rejected_values`, and what `select_layer` throws.
template <measure... Measures, class Criterion>
selection select(observation<Measures...> const& seen, Criterion&& score_of, keep budget) {
  seen.require_sound();
  selection out;
  for (int const layer : seen.layers()) {
    std::vector<double> scores;
    std::vector<int> never;
    for (int e = 0; e < seen.experts(layer); ++e) {
      auto const sums = seen.sums(layer, e);
      scores.push_back(static_cast<double>(score_of(sums)));
      if constexpr (requires { sums.count(); }) {
        if (sums.count() == 0) never.push_back(e);
      }
    }
    out.layers.push_back(select_layer(scores, budget));
    out.layers.back().layer = layer;
    out.layers.back().never_chosen = std::move(never);
  }
  return out;
}

CULL_NAMESPACE_END
