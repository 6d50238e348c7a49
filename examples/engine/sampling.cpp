// SPDX-License-Identifier: Apache-2.0
#include <engine/sampling.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>

#include <cull/error.hpp>
#include <cull/numeric/exp.hpp>

namespace engine {

void check(sampling const& settings) {
  auto const refuse = [](char const* why) { throw cull::error{cull::errc::out_of_range, why}; };
  if (!(settings.temperature >= 0) || !std::isfinite(settings.temperature))
    refuse("temperature must be finite and not negative (0: greedy)");
  if (!(settings.top_p > 0 && settings.top_p <= 1)) refuse("top_p must be above 0 and at most 1");
  if (settings.max_tokens < 0) refuse("max_tokens must not be negative");
}

int argmax(cull::array_view<float const> logits) {
  return static_cast<int>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

int sample(cull::array_view<float const> logits, sampling const& settings, random_stream& random) {
  if (settings.temperature == 0) return argmax(logits);
  float const top = *std::max_element(logits.begin(), logits.end());
  std::vector<double> weight;
  for (float const logit : logits) {
    auto const depth = static_cast<float>((static_cast<double>(logit) - static_cast<double>(top)) / settings.temperature);
    weight.push_back(static_cast<double>(cull::exp_f32(depth)));
  }
  std::vector<int> order(weight.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return weight[static_cast<std::size_t>(a)] > weight[static_cast<std::size_t>(b)]; });
  double const total = std::accumulate(weight.begin(), weight.end(), 0.0);
  double kept = 0;
  std::size_t count = 0;
  while (count < order.size() && (count == 0 || kept < settings.top_p * total))
    kept += weight[static_cast<std::size_t>(order[count++])];
  double const target = random.uniform() * kept;
  double passed = 0;
  for (std::size_t i = 0; i + 1 < count; ++i) {
    passed += weight[static_cast<std::size_t>(order[i])];
    if (target < passed) return order[i];
  }
  return order[count - 1];
}

}  // namespace engine
