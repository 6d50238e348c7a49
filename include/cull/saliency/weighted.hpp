// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <string>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/saliency/observation.hpp>
#include <cull/saliency/state.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

inline void scale_sum(exact_sum& sum, double factor) {
  exact_sum scaled;
  if (scaled.try_add_wide(sum.value() * factor) != sum_status::added) {
    throw error{errc::out_of_range, "weighted: a sum times " + std::to_string(factor) + " is out of range"};
  }
  sum = scaled;
}

}  // namespace detail

/// What the observation would be had every token weighed `factor` times as much, each sum rounded to f64: for merging several
/// calibrations with a weight each. Counts of tokens and maxima stay. Not for files: sequences keep the digests of their own
/// weights. Throws `errc::out_of_range` for a factor that is not positive and finite, or where a sum becomes 2^96 or more.
template <measure... Measures>
observation<Measures...> weighted(observation<Measures...> seen, double factor) {
  if (!(factor > 0) || !std::isfinite(factor)) {
    throw error{errc::out_of_range, "weighted: the weight of an observation must be positive and finite"};
  }
  seen.finish();
  if (factor == 1) return seen;
  detail::for_each_cell(seen, [&](auto& cell, std::size_t) {
    auto const scale = [&](auto& state) {
      if constexpr (std::is_same_v<std::remove_cvref_t<decltype(state)>, exact_sum>) detail::scale_sum(state, factor);
    };
    (scale(cell.sums.state(Measures{})), ...);
    for (auto& product : cell.sums.clusters().products) detail::scale_sum(product, factor * factor);
  });
  return seen;
}

CULL_NAMESPACE_END
