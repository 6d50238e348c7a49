// SPDX-License-Identifier: Apache-2.0
#include <engine/figure.hpp>

#include <algorithm>
#include <cmath>

#include <engine/random.hpp>

namespace engine {
namespace {

constexpr double normal_975 = 1.959963984540054;
constexpr int draws = 2000;

double quotient(ratio_part const& sums) { return sums.denominator > 0 ? sums.numerator / sums.denominator : 0.0; }

}  // namespace

figure share(std::int64_t hits, std::int64_t of) {
  auto const n = static_cast<double>(of);
  double const p = static_cast<double>(hits) / n;
  double const z2 = normal_975 * normal_975;
  double const middle = (p + z2 / (2 * n)) / (1 + z2 / n);
  double const half = normal_975 / (1 + z2 / n) * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  return {p, hits == 0 ? 0.0 : std::max(0.0, middle - half), hits == of ? 1.0 : std::min(1.0, middle + half)};
}

figure ratio(std::span<ratio_part const> sequences) {
  ratio_part all;
  for (auto const& each : sequences) {
    all.numerator += each.numerator;
    all.denominator += each.denominator;
  }
  std::vector<double> drawn;
  random_stream random{20260131};
  for (int d = 0; d < draws; ++d) {
    ratio_part sums;
    for (std::size_t i = 0; i < sequences.size(); ++i) {
      auto const& one = sequences[static_cast<std::size_t>(random.uniform() * static_cast<double>(sequences.size()))];
      sums.numerator += one.numerator;
      sums.denominator += one.denominator;
    }
    if (sums.denominator > 0) drawn.push_back(quotient(sums));
  }
  std::sort(drawn.begin(), drawn.end());
  auto const at = [&](double q) {
    return drawn.empty() ? quotient(all)
                         : drawn[static_cast<std::size_t>(std::llround(q * static_cast<double>(drawn.size() - 1)))];
  };
  return {quotient(all), at(0.025), at(0.975)};
}

}  // namespace engine
