// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <random>
#include <vector>

#include <doctest/doctest.h>
#include <cull/cuda/select.hpp>

#include "simt/on_simt.hpp"

using namespace simt_test;

TEST_CASE("keep-sets chosen on a device are those of the host, ties included") {
  for (std::uint64_t const seed : {1u, 2u, 3u}) {
    for (auto const& [experts, budget] :
         {std::pair{1, cull::keep{1, 1}}, std::pair{64, cull::keep{42, 1}}, std::pair{300, cull::keep{7, 1}},
          std::pair{256, cull::keep{168, 8}}, std::pair{1024, cull::keep{512, 4}}}) {
      constexpr int layers = 3;
      std::mt19937_64 random{seed};
      std::vector<double> scores;
      for (int i = 0; i < layers * experts; ++i) scores.push_back(static_cast<double>(random() % 19) - 3);
      device_array<double> const there{scores};
      device_array<std::int32_t> const kept{static_cast<std::size_t>(layers * budget.count)};
      device_array<std::uint32_t> const refused{std::vector<std::uint32_t>{0}};
      race_detector races;
      cull::select_layers(on_simt{{.seed = seed, .watch = {.races = experts <= 300 ? &races : nullptr}}},
                          there.view(layers, experts), budget, kept.view(layers, budget.count), refused.data());
      auto const got = kept.host();
      for (int l = 0; l < layers; ++l) {
        auto const expected = cull::select_layer(
            std::span{scores}.subspan(static_cast<std::size_t>(l * experts), static_cast<std::size_t>(experts)), budget);
        std::vector<int> const row{got.begin() + l * budget.count, got.begin() + (l + 1) * budget.count};
        CHECK(row == expected.kept);
      }
      CHECK(refused.host()[0] == 0);
    }
  }
}

TEST_CASE("scores that are NaN are counted, budgets that cannot be are refused") {
  device_array<double> const scores{std::vector<double>{1, NAN, 2, NAN}};
  device_array<std::int32_t> const kept{2};
  device_array<std::uint32_t> const refused{std::vector<std::uint32_t>{0}};
  cull::select_layers(on_simt{}, scores.view(1, 4), {2}, kept.view(1, 2), refused.data());
  CHECK(refused.host()[0] == 2);
  CHECK_THROWS_AS(cull::select_layers(on_simt{}, scores.view(1, 4), {3, 2}, kept.view(1, 2), refused.data()), cull::error);
  CHECK_THROWS_AS(cull::select_layers(on_simt{}, scores.view(1, 4), {3}, kept.view(1, 2), refused.data()), cull::error);
}

TEST_CASE("scores are read and whole keep-sets written by full sectors, and no bank of shared memory twice") {
  constexpr int experts = 256;  // one for each thread: the trace takes the n-th access of lanes for one request
  memory_trace trace;
  device_array<double> const scores{std::vector<double>(2 * experts, 1.5)};
  device_array<std::int32_t> const kept{2 * experts};
  device_array<std::uint32_t> const refused{std::vector<std::uint32_t>{0}};
  cull::select_layers(on_simt{{.watch = {.trace = &trace}}}, scores.view(2, experts), {experts}, kept.view(2, experts),
                      refused.data());
  auto const read = trace.total(space::global, access_kind::read), written = trace.total(space::global, access_kind::write);
  CHECK(read.bytes_used == 2 * experts * sizeof(double));
  CHECK(read.used() == 1.0);
  CHECK(written.bytes_used == 2 * experts * sizeof(std::int32_t));
  CHECK(written.used() == 1.0);
  CHECK(trace.total(space::shared, access_kind::read).bank_conflicts == 0);
  CHECK(trace.total(space::shared, access_kind::write).bank_conflicts == 0);
}
