// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <random>
#include <vector>

#include <cull/selection.hpp>

#include "support/failures.hpp"

namespace {

using test_support::code_of;

using scores = std::map<int, std::vector<double>>;

scores random_scores(std::mt19937& random, int layers, int experts) {
  std::exponential_distribution<double> size{1};
  scores out;
  for (int l = 0; l < layers; ++l) {
    double const scale = std::pow(10.0, 3 * size(random)), shape = 0.2 + size(random);
    for (int e = 0; e < experts; ++e) out[3 * l + 2].push_back(scale * std::pow(size(random), shape));
  }
  return out;
}

/// Kept share of a layer: the best of every group, by sorting.
double kept_share(std::vector<double> const& of, int count, int groups) {
  double const all = std::accumulate(of.begin(), of.end(), 0.0);
  auto const size = of.size() / static_cast<std::size_t>(groups);
  double kept = 0;
  for (std::size_t g = 0; g < static_cast<std::size_t>(groups); ++g) {
    std::vector<double> part(of.begin() + static_cast<std::ptrdiff_t>(g * size),
                             of.begin() + static_cast<std::ptrdiff_t>((g + 1) * size));
    std::sort(part.rbegin(), part.rend());
    kept += std::accumulate(part.begin(), part.begin() + count / groups, 0.0);
  }
  return all > 0 ? kept / all : 0.0;
}

double kept_share(scores const& of, std::map<int, int> const& counts, int groups) {
  double out = 0;
  for (auto const& [layer, count] : counts) out += kept_share(of.at(layer), count, groups);
  return out;
}

/// The best sum of kept shares over every way to give out the total.
double best_by_trying(scores const& of, cull::water_fill_options const& o) {
  double best = -1;
  std::map<int, int> counts;
  std::function<void(scores::const_iterator, int)> const give = [&](scores::const_iterator at, int left) {
    if (at == of.end()) {
      if (left == 0) best = std::max(best, kept_share(of, counts, o.groups));
      return;
    }
    for (int n = o.minimum; n <= std::min<int>(left, static_cast<int>(at->second.size())); n += o.step) {
      counts[at->first] = n;
      give(std::next(at), left - n);
    }
  };
  give(of.begin(), o.total);
  return best;
}

}  // namespace

TEST_CASE("water_fill: the optimum that trying everything finds") {
  std::mt19937 random{7};
  for (int trial = 0; trial < 60; ++trial) {
    int const groups = trial % 3 == 0 ? 2 : 1, step = groups * (1 + trial % 2), experts = 8;
    auto const of = random_scores(random, 4, experts);
    for (int const minimum : {step, 2 * step}) {
      for (int total = 4 * minimum; total <= 4 * experts; total += step) {
        cull::water_fill_options const o{.total = total, .minimum = minimum, .step = step, .groups = groups};
        auto const got = cull::water_fill(of, o);
        int sum = 0;
        for (auto const& [layer, count] : got.counts) {
          CHECK(count >= minimum);
          CHECK(count % step == 0);
          sum += count;
        }
        CHECK(sum == total);
        CHECK(got.groups == groups);
        CHECK(kept_share(of, got.counts, groups) == doctest::Approx(best_by_trying(of, o)).epsilon(1e-12));
      }
    }
  }
}

TEST_CASE("water_fill: never drops more normalised mass than equal counts of the same total") {
  std::mt19937 random{11};
  for (int trial = 0; trial < 200; ++trial) {
    int const layers = 2 + trial % 9, experts = 64;
    auto const of = random_scores(random, layers, experts);
    for (int const count : {8, 24, 42 / 2 * 2, 56, 64}) {
      std::map<int, int> same;
      for (auto const& [layer, values] : of) same[layer] = count;
      auto const got = cull::water_fill(of, {.total = count * layers, .minimum = 2, .step = 2});
      CHECK(kept_share(of, got.counts, 1) >= kept_share(of, same, 1) - 1e-12);
      // The same by what is dropped when those counts select.
      double dropped = 0, dropped_uniform = 0;
      for (auto const& [layer, values] : of) {
        dropped += cull::dropped_mass(values, cull::select_layer(values, {got.counts.at(layer)}).kept);
        dropped_uniform += cull::dropped_mass(values, cull::select_layer(values, {count}).kept);
      }
      CHECK(dropped <= dropped_uniform + 1e-12);
    }
  }
}

TEST_CASE("water_fill: ties go to the lower layer; a layer's scale does not count") {
  scores const of{{1, {4, 3, 2, 1}}, {2, {40, 30, 20, 10}}};
  CHECK(cull::water_fill(of, {.total = 5}).counts == std::map<int, int>{{1, 3}, {2, 2}});
  scores const flat{{1, {1, 1, 1, 1}}, {2, {8, 1, 0, 0}}, {3, {0, 0, 0, 0}}};
  CHECK(cull::water_fill(flat, {.total = 7}).counts == std::map<int, int>{{1, 4}, {2, 2}, {3, 1}});
}

TEST_CASE("water_fill: numbers that cannot be") {
  scores const of{{1, {4, 3, 2, 1}}, {2, {4, 3, 2, 1}}};
  for (auto const& wrong : {cull::water_fill_options{.total = 9},
                            {.total = 1},
                            {.total = 4, .minimum = 0},
                            {.total = 5, .minimum = 2, .step = 2},
                            {.total = 4, .minimum = 1, .step = 2},
                            {.total = 4, .minimum = 3, .step = 3, .groups = 2},
                            {.total = 16, .minimum = 8}}) {
    CHECK(code_of([&] { cull::water_fill(of, wrong); }) == cull::errc::out_of_range);
  }
  CHECK(code_of([&] { cull::water_fill({{1, {1, -1}}}, {.total = 1}); }) == cull::errc::out_of_range);
  CHECK(code_of([&] {
          cull::water_fill({{1, {1, 1, 1}}}, {.total = 2, .minimum = 2, .step = 2, .groups = 2});
        }) == cull::errc::out_of_range);
}
