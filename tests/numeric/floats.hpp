// SPDX-License-Identifier: Apache-2.0
// Floats to try a codec on, and the nearest code found by search among all values.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace numeric_test {

/// 2^24 different f32 patterns spread over all 2^32; tens of thousands of NaN and subnormals are among them.
template <class F>
void for_sampled_floats(F f) {
  for (std::uint32_t i = 0; i < (1u << 24); ++i) f(std::bit_cast<float>(i * 0x9e3779b1u));
}

/// Every f32 whose lower half is zero: all bf16 values, infinities and NaN included.
template <class F>
void for_all_bf16(F f) {
  for (std::uint32_t i = 0; i < (1u << 16); ++i) f(std::bit_cast<float>(i << 16));
}

/// The floats at and next to each point, of both signs.
template <class F>
void for_neighbours(std::vector<double> const& points, F f) {
  for (double const point : points) {
    auto const middle = std::bit_cast<std::uint32_t>(static_cast<float>(point));
    for (std::uint32_t word = middle < 4 ? 0 : middle - 4; word <= middle + 4; ++word) {
      f(std::bit_cast<float>(word));
      f(std::bit_cast<float>(word | 0x80000000u));
    }
  }
}

/// The not negative values of a format, by code, ascending.
struct code_table {
  explicit code_table(std::vector<double> by_code) : values(std::move(by_code)) {
    for (std::size_t i = 0; i + 1 < values.size(); ++i) middles.push_back((values[i] + values[i + 1]) / 2);
  }

  /// Nearest code to a magnitude, ties to the even code, saturating at the last one.
  unsigned nearest_even(double magnitude) const {
    auto const middle = std::lower_bound(middles.begin(), middles.end(), magnitude);
    auto const below = static_cast<unsigned>(middle - middles.begin());
    bool const tie = middle != middles.end() && *middle == magnitude;
    return tie ? below + below % 2 : below;
  }
  /// Code of the largest value not above a magnitude, or the smallest.
  unsigned floor(double magnitude) const {
    auto const above = std::upper_bound(values.begin(), values.end(), magnitude) - values.begin();
    return static_cast<unsigned>(above == 0 ? 0 : above - 1);
  }
  /// Code of the smallest value not below a magnitude, or the largest.
  unsigned ceil(double magnitude) const {
    auto const not_below = std::lower_bound(values.begin(), values.end(), magnitude);
    auto const at = static_cast<std::size_t>(not_below - values.begin());
    return static_cast<unsigned>(std::min(at, values.size() - 1));
  }

  std::vector<double> values;
  std::vector<double> middles;
};

/// Counts answers that differ, and keeps the first input that showed one: one CHECK for millions of inputs.
struct tally {
  void add(bool equal, float input) {
    if (!equal && wrong++ == 0) first = std::bit_cast<std::uint32_t>(input);
    ++tried;
  }

  std::uint64_t tried = 0;
  std::uint64_t wrong = 0;
  std::uint32_t first = 0;
};

/// `tally` of `agrees(x)` over the samples, all bf16 values, and the floats around every value and middle of the table.
template <class F>
tally tally_floats(code_table const& table, F agrees) {
  tally seen;
  auto const one = [&](float x) { seen.add(agrees(x), x); };
  for_sampled_floats(one);
  for_all_bf16(one);
  for_neighbours(table.values, one);
  for_neighbours(table.middles, one);
  return seen;
}

}  // namespace numeric_test
