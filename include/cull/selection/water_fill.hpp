// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <functional>
#include <map>
#include <numeric>
#include <queue>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/selection/select.hpp>

CULL_NAMESPACE_BEGIN

/// One total for all layers, given out where it saves most.
struct water_fill_options {
  int total = 0;    ///< experts that stay, over all layers
  int minimum = 1;  ///< in each layer
  int step = 1;     ///< every layer keeps a multiple of it
  int groups = 1;   ///< as in `keep`
};

/// Share of a layer's scores that its best experts hold, for every count: entry i is that of i * step experts, equal numbers per
/// group. Rises and bends down only. All 0 for a layer without any score.
/// Throws `errc::out_of_range` for negative scores, which have no mass.
inline std::vector<double> mass_curve(std::span<double const> scores, int step, int groups) {
  if (std::any_of(scores.begin(), scores.end(), [](double s) { return !(s >= 0); })) {
    throw error{errc::out_of_range, "water_fill: scores must not be negative"};
  }
  auto const size = static_cast<std::ptrdiff_t>(scores.size()) / groups;
  std::vector<std::vector<double>> sorted;
  for (int g = 0; g < groups; ++g) {
    sorted.emplace_back(scores.begin() + g * size, scores.begin() + (g + 1) * size);
    std::sort(sorted.back().begin(), sorted.back().end(), std::greater<>{});
  }
  double const all = std::accumulate(scores.begin(), scores.end(), 0.0);
  std::vector<double> out{0.0};
  double sum = 0;
  for (std::ptrdiff_t rank = 0; rank < size; ++rank) {
    for (auto const& group : sorted) sum += group[static_cast<std::size_t>(rank)];
    if ((rank + 1) * groups % step == 0) out.push_back(all > 0 ? sum / all : 0.0);
  }
  return out;
}

namespace detail {

inline void check_water_fill(std::size_t layers, std::map<int, std::vector<double>> const& curves, water_fill_options const& o) {
  auto const refuse = [](std::string const& why) { throw error{errc::out_of_range, "water_fill: " + why}; };
  if (o.step < 1 || o.groups < 1 || o.step % o.groups != 0) refuse("the step must be a multiple of the number of groups");
  if (o.minimum < 1 || o.minimum % o.step != 0 || o.total % o.step != 0) {
    refuse("total " + std::to_string(o.total) + " and minimum " + std::to_string(o.minimum) + " must be multiples of the step " +
           std::to_string(o.step));
  }
  int most = 0;
  for (auto const& [layer, curve] : curves) {
    int const all = (static_cast<int>(curve.size()) - 1) * o.step;
    if (all < o.minimum) refuse("layer " + std::to_string(layer) + " has less than the minimum");
    most += all;
  }
  if (o.total > most || o.total < static_cast<int>(layers) * o.minimum) {
    refuse("a total of " + std::to_string(o.total) + " is not between " + std::to_string(static_cast<int>(layers) * o.minimum) +
           " and " + std::to_string(most));
  }
}

}  // namespace detail

/// Counts by layer that keep the greatest sum, over layers, of the share of a layer's scores that stays, for one total. Scores
/// count by their share of their own layer, since their size differs between layers for reasons that pruning does not know.
/// Each share bends down with the count, so giving every step to the layer that gains most (ties: the lower layer) is optimal; it
/// never drops more than equal counts of the same total do. O(total / step * log layers).
/// Throws `errc::out_of_range` for numbers that cannot be, negative scores.
inline layer_budget water_fill(std::map<int, std::vector<double>> const& scores, water_fill_options const& o) {
  std::map<int, std::vector<double>> curves;
  for (auto const& [layer, values] : scores) {
    if (o.step > 0 && o.groups > 0 && values.size() % static_cast<std::size_t>(o.groups) == 0) {
      curves[layer] = mass_curve(values, o.step, o.groups);
    } else {
      throw error{errc::out_of_range, "water_fill: the experts of layer " + std::to_string(layer) + " do not divide into groups"};
    }
  }
  detail::check_water_fill(scores.size(), curves, o);
  layer_budget out{{}, o.groups};
  using offer = std::pair<double, int>;  // gain of the next step, minus the layer
  std::priority_queue<offer> offers;
  auto const bid = [&](int layer) {
    auto const& curve = curves.at(layer);
    auto const next = static_cast<std::size_t>(out.counts.at(layer) / o.step + 1);
    if (next < curve.size()) offers.push({curve[next] - curve[next - 1], -layer});
  };
  for (auto const& [layer, curve] : curves) {
    out.counts[layer] = o.minimum;
    bid(layer);
  }
  for (int left = o.total - static_cast<int>(scores.size()) * o.minimum; left > 0; left -= o.step) {
    int const layer = -offers.top().second;
    offers.pop();
    out.counts.at(layer) += o.step;
    bid(layer);
  }
  return out;
}

/// Share of the scores that a keep-set drops; 0 where there are none.
inline double dropped_mass(std::span<double const> scores, std::vector<int> const& kept) {
  double all = 0, stays = 0;
  for (std::size_t e = 0; e < scores.size(); ++e) {
    all += scores[e];
    if (std::binary_search(kept.begin(), kept.end(), static_cast<int>(e))) stays += scores[e];
  }
  return all > 0 ? (all - stays) / all : 0.0;
}

CULL_NAMESPACE_END
