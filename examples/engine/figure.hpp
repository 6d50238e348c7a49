// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace engine {

/// A measured number with its 95 % confidence interval.
struct figure {
  double value = 0;
  double low = 0, high = 0;
};

/// Hits among independent trials, with Wilson's score interval (Wilson 1927). `of` at least 1.
figure share(std::int64_t hits, std::int64_t of);

/// What one sequence adds to a ratio of sums.
struct ratio_part {
  double numerator = 0;
  double denominator = 0;
};

/// Sum of numerators over sum of denominators, with the percentile interval of 2,000 bootstrap draws over sequences: values
/// within one sequence are not independent. The same numbers give the same interval. Sum of denominators not 0.
figure ratio(std::span<ratio_part const> sequences);

}  // namespace engine
