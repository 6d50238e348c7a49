// SPDX-License-Identifier: Apache-2.0
// Choosing experts, against std::partial_sort_copy of (score, id) in the same order.
#include <algorithm>
#include <string>
#include <utility>

#include <cull/cpu.hpp>
#include <cull/router.hpp>

#include "paired.hpp"
#include "weights.hpp"

namespace {

constexpr std::int64_t tokens = 4096;

void choose(benchmark::State& state) {
  auto const experts = state.range(0), k = state.range(1);
  auto logits = benchmarks::activations(tokens, experts);
  for (std::size_t i = 0; i < logits.size(); i += 7) logits[i] = 1.0f;  // ties
  auto const router = cull::score<cull::sigmoid>() | cull::choose(static_cast<int>(k)) | cull::renormalize(1e-20f);
  cull::routing_buffer out;
  std::vector<std::pair<float, int>> pairs(static_cast<std::size_t>(experts)), best(static_cast<std::size_t>(k));
  benchmarks::compare(
      state, static_cast<double>(tokens),
      [&] { cull::route(cull::on_cpu{1}, router, cull::matrix_view<float const>{logits.data(), tokens, experts}, out); },
      static_cast<double>(tokens),
      [&] {
        for (std::int64_t t = 0; t < tokens; ++t) {
          for (std::int64_t e = 0; e < experts; ++e)
            pairs[static_cast<std::size_t>(e)] = {logits[static_cast<std::size_t>(t * experts + e)], static_cast<int>(e)};
          std::partial_sort_copy(pairs.begin(), pairs.end(), best.begin(), best.end(), [](auto const& a, auto const& b) {
            return a.first != b.first ? a.first > b.first : a.second < b.second;
          });
          benchmark::DoNotOptimize(best.data());
        }
      });
}

BENCHMARK(choose)
    ->Name("route")
    ->ArgNames({"experts", "k"})
    ->Args({256, 8})
    ->Args({128, 8})
    ->Args({512, 10})
    ->Args({384, 8})
    ->Args({64, 6})
    ->Args({8, 2})
    ->Args({32, 4})
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
