// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <vector>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/selection/select.hpp>

CULL_NAMESPACE_BEGIN

/// Two keep-sets of one layer side by side.
struct keep_set_comparison {
  int layer = 0;
  std::vector<int> both, only_first, only_second;  ///< ascending
  double jaccard = 1;                              ///< |both| / |either|; 1 for two empty sets
};

/// Compares two ascending sets of expert ids.
inline keep_set_comparison compare(std::vector<int> const& first, std::vector<int> const& second) {
  keep_set_comparison out;
  std::set_intersection(first.begin(), first.end(), second.begin(), second.end(), std::back_inserter(out.both));
  std::set_difference(first.begin(), first.end(), second.begin(), second.end(), std::back_inserter(out.only_first));
  std::set_difference(second.begin(), second.end(), first.begin(), first.end(), std::back_inserter(out.only_second));
  auto const either = out.both.size() + out.only_first.size() + out.only_second.size();
  if (either > 0) out.jaccard = static_cast<double>(out.both.size()) / static_cast<double>(either);
  return out;
}

/// Layer by layer. Throws `errc::mismatched_states` where the layers differ.
inline std::vector<keep_set_comparison> compare(selection const& first, selection const& second) {
  bool const fits = std::equal(first.layers.begin(), first.layers.end(), second.layers.begin(), second.layers.end(),
                               [](auto const& a, auto const& b) { return a.layer == b.layer; });
  if (!fits) throw error{errc::mismatched_states, "compare: the selections are of different layers"};
  std::vector<keep_set_comparison> out;
  for (std::size_t i = 0; i < first.layers.size(); ++i) {
    out.push_back(compare(first.layers[i].kept, second.layers[i].kept));
    out.back().layer = first.layers[i].layer;
  }
  return out;
}

CULL_NAMESPACE_END
