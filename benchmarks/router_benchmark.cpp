// SPDX-License-Identifier: Apache-2.0
// Choosing experts, against std::partial_sort_copy of (score, id) in the same order.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <cull/cpu.hpp>
#include <cull/cpu/route_stages.hpp>
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
      [&] {
        cull::route(cull::on_cpu{1}, router, cull::matrix_view<float const>{logits.data(), tokens, experts}, out);
      },
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

/// The choice alone, scores given.
void choose_only(benchmark::State& state) {
  auto const experts = state.range(0), k = state.range(1);
  auto scores = benchmarks::activations(tokens, experts);
  for (float& s : scores) s = std::nearbyint(s * 64) / 64;  // ties
  auto const size = static_cast<std::size_t>(experts);
  std::vector<std::uint8_t> candidate(size, 1);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(k));
  std::vector<float> weights(ids.size());
  std::vector<std::pair<float, int>> pairs(size), best(ids.size());
  auto const level = cull::on_cpu{}.level();
  benchmarks::compare(
      state, static_cast<double>(tokens),
      [&] {
        for (std::int64_t t = 0; t < tokens; ++t) {
          cull::array_view<float> const row{scores.data() + t * experts, experts};
          cull::detail::stages_on_cpu{level, {row, row, candidate, ids, weights}}(cull::choose(static_cast<int>(k)));
          benchmark::DoNotOptimize(ids.data());
        }
      },
      static_cast<double>(tokens),
      [&] {
        for (std::int64_t t = 0; t < tokens; ++t) {
          for (std::size_t e = 0; e < size; ++e) pairs[e] = {scores[static_cast<std::size_t>(t) * size + e], static_cast<int>(e)};
          std::partial_sort_copy(pairs.begin(), pairs.end(), best.begin(), best.end(), [](auto const& a, auto const& b) {
            return a.first != b.first ? a.first > b.first : a.second < b.second;
          });
          benchmark::DoNotOptimize(best.data());
        }
      });
}

void sizes(benchmark::internal::Benchmark* of) {
  of->ArgNames({"experts", "k"});
  for (auto const& [experts, k] : {std::pair{256, 8}, {128, 8}, {512, 10}, {384, 8}, {64, 6}, {8, 2}, {32, 4}})
    of->Args({experts, k});
  of->UseManualTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK(choose_only)->Name("choose")->Apply(sizes);
BENCHMARK(choose)->Name("route")->Apply(sizes);

}  // namespace
