// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <vector>

namespace benchmarks {

template <class Body>
double seconds_of(Body&& body) {
  auto const begin = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

inline double median(std::vector<double> values) {
  auto const middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Times `work` and its `ceiling` in turns, so that a noisy neighbour meets both, and reports `rate` (units of work a second), the
/// ceiling's, and their `ratio`: medians of what each turn gave. `ceiling()` does `ceiling_units` and may return another number.
template <class Work, class Ceiling>
void compare(benchmark::State& state, double units, Work&& work, double ceiling_units, Ceiling&& ceiling) {
  work();
  ceiling();
  std::vector<double> rates, ceilings, ratios;
  for (auto _ : state) {
    auto const busy = seconds_of(work);
    auto const at_most = seconds_of(ceiling);
    state.SetIterationTime(busy);
    rates.push_back(units / busy);
    ceilings.push_back(ceiling_units / at_most);
    ratios.push_back(rates.back() / ceilings.back());
  }
  state.counters["rate"] = median(rates);
  state.counters["ceiling"] = median(ceilings);
  state.counters["ratio"] = median(ratios);
}

}  // namespace benchmarks
