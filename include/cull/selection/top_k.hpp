// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// The k highest scores. Set: of equal scores at the cut, the lowest ids are in. Order: ids ascending. The set depends on the
/// scores alone. O(n + k log k). Throws `errc::out_of_range` (k not in [0, n]), `errc::not_finite` (a NaN has no rank).
inline std::vector<int> top_k(std::span<double const> scores, int k) {
  if (k < 0 || static_cast<std::size_t>(k) > scores.size()) {
    throw error{errc::out_of_range, "top_k: cannot take " + std::to_string(k) + " of " + std::to_string(scores.size())};
  }
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (std::isnan(scores[i])) throw error{errc::not_finite, "top_k: the score of expert " + std::to_string(i) + " is NaN"};
  }
  std::vector<int> ids(scores.size());
  std::iota(ids.begin(), ids.end(), 0);
  auto const score = [&](int id) { return scores[static_cast<std::size_t>(id)]; };
  auto const before = [&](int a, int b) { return score(a) != score(b) ? score(a) > score(b) : a < b; };
  std::nth_element(ids.begin(), ids.begin() + k, ids.end(), before);
  ids.resize(static_cast<std::size_t>(k));
  std::sort(ids.begin(), ids.end());
  return ids;
}

CULL_NAMESPACE_END
