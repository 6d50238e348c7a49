// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/saliency/observation.hpp>
#include <cull/selection/protect.hpp>
#include <cull/selection/top_k.hpp>

CULL_NAMESPACE_BEGIN

/// How many experts stay in each layer; with groups, the same number in each contiguous block of experts (group-limited routers).
struct keep {
  int count = 0;
  int groups = 1;
};

/// How many stay, layer by layer.
struct layer_budget {
  std::map<int, int> counts;  ///< by layer number
  int groups = 1;             ///< as in `keep`
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
  std::vector<int> rescued;  ///< kept because they are protected, not for their score; no part of the cut
  int groups = 1;
};

struct selection {
  std::vector<layer_selection> layers;
};

namespace detail {

/// Scores on both sides of the cut of one group: the lowest that won its place, and the highest that lost.
struct cut_sides {
  double high = std::numeric_limits<double>::infinity();
  double low = -std::numeric_limits<double>::infinity();
  bool is_cut() const { return high < std::numeric_limits<double>::infinity() && low > -std::numeric_limits<double>::infinity(); }
};

inline cut_sides sides_of(layer_selection const& of, int first, int size) {
  cut_sides out;
  for (int e = first; e < first + size; ++e) {
    double const score = of.scores[static_cast<std::size_t>(e)];
    if (std::binary_search(of.rescued.begin(), of.rescued.end(), e)) continue;
    if (std::binary_search(of.kept.begin(), of.kept.end(), e)) {
      out.high = std::min(out.high, score);
    } else {
      out.low = std::max(out.low, score);
    }
  }
  return out;
}

inline void measure_cut(layer_selection& out, int first, int size) {
  auto const [high, low] = sides_of(out, first, size);
  if (!cut_sides{high, low}.is_cut()) return;
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

/// The best `count` of one group, the protected first.
inline void keep_group(layer_selection& out, std::span<double const> scores, int first, int count, std::vector<int> const& stay) {
  std::vector<double> lifted(scores.begin(), scores.end());
  auto const best = top_k(scores, count);
  int protected_here = 0;
  for (int const id : stay) {
    int const at = id - first;
    if (at < 0 || at >= static_cast<int>(scores.size())) continue;
    ++protected_here;
    lifted[static_cast<std::size_t>(at)] = std::numeric_limits<double>::infinity();
    if (!std::binary_search(best.begin(), best.end(), at)) out.rescued.push_back(id);
  }
  if (protected_here > count) {
    throw error{errc::out_of_range, "select: " + std::to_string(protected_here) + " experts are protected and " +
                                        std::to_string(count) + " may stay; protect fewer or keep more"};
  }
  for (int const at : top_k(lifted, count)) out.kept.push_back(first + at);
}

}  // namespace detail

/// The keep-set of one layer from its scores: the best of each group, ties to the lower id, experts of `stay` (ascending) before
/// all others. Throws `errc::out_of_range` (a count or a number of groups that cannot be, more protected experts than may stay),
/// `errc::not_finite`.
inline layer_selection select_layer(std::span<double const> scores, keep budget, std::vector<int> const& stay = {}) {
  int const experts = static_cast<int>(scores.size());
  if (budget.groups < 1 || experts % budget.groups != 0 || budget.count % budget.groups != 0 || budget.count < 1 ||
      budget.count > experts) {
    throw error{errc::out_of_range, "select: cannot keep " + std::to_string(budget.count) + " of " + std::to_string(experts) +
                                        " experts" +
                                        (budget.groups == 1 ? "" : " in " + std::to_string(budget.groups) + " equal groups")};
  }
  layer_selection out;
  out.experts = experts;
  out.groups = budget.groups;
  out.scores.assign(scores.begin(), scores.end());
  int const size = experts / budget.groups;
  for (int first = 0; first < experts; first += size) {
    auto const group = scores.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(size));
    detail::keep_group(out, group, first, budget.count / budget.groups, stay);
  }
  for (int first = 0; first < experts; first += size) detail::measure_cut(out, first, size);
  return out;
}

/// What the cut of a keep-set (ascending, from anywhere) looks like in these scores; those of it in `rescued` (ascending) are no
/// part of the cut. A margin is negative where a dropped expert scores higher than a kept one. Throws `errc::out_of_range` for
/// ids that are not there, or groups that are not equal.
inline layer_selection cut_of(std::span<double const> scores, std::vector<int> kept, int groups = 1,
                              std::vector<int> rescued = {}) {
  int const experts = static_cast<int>(scores.size());
  if (groups < 1 || experts % groups != 0 || (!kept.empty() && (kept.front() < 0 || kept.back() >= experts))) {
    throw error{errc::out_of_range,
                "cut_of: a keep-set names experts that are not among " + std::to_string(experts) + " in equal groups"};
  }
  layer_selection out;
  out.experts = experts;
  out.groups = groups;
  out.kept = std::move(kept);
  out.scores.assign(scores.begin(), scores.end());
  out.rescued = std::move(rescued);
  int const size = experts / groups;
  for (int first = 0; first < experts; first += size) detail::measure_cut(out, first, size);
  return out;
}

/// Scores of every expert by layer number. Throws `errc::rejected_values`.
template <measure... Measures, class Criterion>
std::map<int, std::vector<double>> scores_of(observation<Measures...> const& seen, Criterion&& score_of) {
  seen.require_sound();
  std::map<int, std::vector<double>> out;
  for (int const layer : seen.layers()) {
    for (int e = 0; e < seen.experts(layer); ++e) out[layer].push_back(static_cast<double>(score_of(seen.sums(layer, e))));
  }
  return out;
}

/// Scores every expert of an observation by `score_of` (more is better) and keeps the best of each layer that has a budget.
/// A function of the observation's bits alone. Throws `errc::rejected_values`, and what `select_layer` throws.
template <measure... Measures, class Criterion>
selection select(observation<Measures...> const& seen, Criterion&& score_of, layer_budget const& budget,
                 protected_experts const& stay = {}) {
  selection out;
  for (auto const& [layer, scores] : scores_of(seen, score_of)) {
    auto const budgeted = budget.counts.find(layer);
    if (budgeted == budget.counts.end()) continue;
    auto const safe = stay.find(layer);
    out.layers.push_back(
        select_layer(scores, {budgeted->second, budget.groups}, safe == stay.end() ? std::vector<int>{} : safe->second));
    out.layers.back().layer = layer;
    for (int e = 0; e < seen.experts(layer); ++e) {
      auto const sums = seen.sums(layer, e);
      if constexpr (requires { sums.count(); }) {
        if (sums.count() == 0) out.layers.back().never_chosen.push_back(e);
      }
    }
  }
  return out;
}

/// The same number in every layer.
template <measure... Measures, class Criterion>
selection select(observation<Measures...> const& seen, Criterion&& score_of, keep budget, protected_experts const& stay = {}) {
  layer_budget each{{}, budget.groups};
  for (int const layer : seen.layers()) each.counts[layer] = budget.count;
  return select(seen, std::forward<Criterion>(score_of), each, stay);
}

CULL_NAMESPACE_END
