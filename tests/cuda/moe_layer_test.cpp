// SPDX-License-Identifier: Apache-2.0
// One source, two backends: the engine of examples/embed/moe_layer.hpp on the CPU and on a device sees the same, bit for bit.
#include <cstdint>
#include <random>
#include <vector>

#include <doctest/doctest.h>
#include <cull/cuda/observation.hpp>
#include <cull/cuda/route.hpp>

#include "../../examples/embed/moe_layer.hpp"
#include "simt/on_simt.hpp"

using namespace simt_test;

namespace {

constexpr int experts = 24, k = 4;
constexpr std::int64_t tokens = 29;

std::vector<float> values(std::int64_t size, std::uint64_t seed, float least) {
  std::mt19937_64 random{seed};
  std::uniform_real_distribution<float> u{least, 2.0f};
  std::vector<float> out(static_cast<std::size_t>(size));
  for (auto& v : out) v = u(random);
  return out;
}

}  // namespace

TEST_CASE("the same engine on both backends: equal routings, equal observations") {
  auto const bias = values(experts, 1, -0.1f);
  std::vector<double> weights(tokens, 1.0);
  weights[3] = 6;
  weights[7] = 0;
  std::vector<int> sequence(tokens);
  for (std::size_t t = 0; t < sequence.size(); ++t) sequence[t] = static_cast<int>(t / 8);
  cull::observation_layout const layout{.layers = {7}, .experts = experts};

  cull::on_cpu const cpu{};
  auto seen = cull::observation_on(cpu, layout);
  engine::moe_layer host{cpu, engine::router_of(cull::array_view<float const>{bias})};
  for (std::uint64_t const step : {1u, 2u}) {
    auto const logits = values(tokens * experts, step, -2.0f), norms = values(tokens * k, step + 10, 0.0f);
    host(
        {logits.data(), tokens, experts},
        [&](auto const&) {
          return cull::matrix_view<float const>{norms.data(), tokens, k};
        },
        weights, sequence, seen.at(7));
  }
  seen.finish();

  for (std::uint64_t const seed : {1u, 2u, 3u}) {
    race_detector races;
    on_simt const simt{{.seed = seed, .watch = {.races = &races}}};
    device_array<float> const bias_there{bias};
    device_array<double> const weights_there{weights};
    device_array<int> const sequence_there{sequence};
    auto seen_there = cull::observation_on(simt, layout, cull::open_sequences{4});
    engine::moe_layer device{simt, engine::router_of(cull::array_view<float const, cull::device_memory>{bias_there.view()})};
    for (std::uint64_t const step : {1u, 2u}) {
      device_array<float> const logits{values(tokens * experts, step, -2.0f)}, norms{values(tokens * k, step + 10, 0.0f)};
      device(
          logits.view(tokens, experts), [&](auto const&) { return norms.view(tokens, k); }, weights_there.view(),
          sequence_there.view(), seen_there.at(7));
    }
    CHECK(cull::to_host(seen_there) == cull::to_host(seen));
    for (std::int64_t t = 0; t < tokens; ++t) {
      for (int i = 0; i < k; ++i) CHECK(device.routing().ids(t, i) == host.routing().ids(t, i));
    }
  }
}
