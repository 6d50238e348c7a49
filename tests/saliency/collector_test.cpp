// SPDX-License-Identifier: Apache-2.0
// The collector against a MoE block written out in long double.
#include <doctest/doctest.h>

#include <cstring>

#include "owned_layer.hpp"
#include "tokens.hpp"

namespace {

using namespace saliency_test;

auto make_collector(cull::on_cpu exec, owned_layer const& of) {
  return cull::collector{exec, cull::model_router(of.layer), of.layer};
}

}  // namespace

TEST_CASE("collector: routed output and norms are those of the block written out") {
  owned_layer const of{1};
  auto const router_x = inputs(20, 2), expert_x = inputs(20, 3);
  for (bool const separate : {false, true}) {
    auto collect = make_collector({2}, of);
    auto const y = collect.run({.router_input = {router_x.data(), 20, hidden},
                                .expert_input = separate ? cull::matrix_view<float const>{expert_x.data(), 20, hidden}
                                                         : cull::matrix_view<float const>{}});
    auto const& seen_by_experts = separate ? expert_x : router_x;
    for (std::int64_t t = 0; t < 20; ++t) {
      std::vector<long double> const x{seen_by_experts.begin() + t * hidden, seen_by_experts.begin() + (t + 1) * hidden};
      std::vector<long double> sum(hidden);
      for (int i = 0; i < top_k; ++i) {
        auto const f = expert_output(of, collect.routing().ids(t, i), x);
        long double squares = 0;
        for (std::size_t h = 0; h < f.size(); ++h) {
          sum[h] += static_cast<long double>(collect.routing().weights(t, i)) * f[h];
          squares += f[h] * f[h];
        }
        CHECK(collect.norms()(t, i) == doctest::Approx(static_cast<double>(std::sqrt(squares))).epsilon(1e-6));
      }
      for (std::int64_t h = 0; h < hidden; ++h)
        CHECK(std::abs(y(t, h) - static_cast<double>(sum[static_cast<std::size_t>(h)])) < 1e-5);
    }
  }
}

TEST_CASE("collector: routing is the router's own, from logits taken in f32") {
  owned_layer const of{4};
  auto const x = inputs(11, 5);
  auto collect = make_collector({1}, of);
  collect.run({.router_input = {x.data(), 11, hidden}});
  for (std::int64_t t = 0; t < 11; ++t) {
    auto const logits = times(of.raw(0), {x.begin() + t * hidden, x.begin() + (t + 1) * hidden});
    std::vector<std::pair<long double, int>> ranking;
    long double sum = 0;
    for (int e = 0; e < experts; ++e)
      ranking.push_back({-(1 / (1 + std::exp(-logits[static_cast<std::size_t>(e)])) +
                           static_cast<long double>(of.layer.correction_bias[static_cast<std::size_t>(e)])),
                         e});
    std::sort(ranking.begin(), ranking.end());
    std::vector<int> chosen;
    for (int i = 0; i < top_k; ++i) chosen.push_back(ranking[static_cast<std::size_t>(i)].second);
    std::sort(chosen.begin(), chosen.end());
    for (int const e : chosen) sum += 1 / (1 + std::exp(-logits[static_cast<std::size_t>(e)]));
    for (int i = 0; i < top_k; ++i) {
      int const e = chosen[static_cast<std::size_t>(i)];
      CHECK(collect.routing().ids(t, i) == e);
      CHECK(
          collect.routing().weights(t, i) ==
          doctest::Approx(static_cast<double>(2.5L / (1 + std::exp(-logits[static_cast<std::size_t>(e)])) / sum)).epsilon(1e-5));
    }
  }
}

TEST_CASE("collector: outputs and state keep their bits for every batch and number of threads") {
  owned_layer const of{6};
  auto const x = inputs(130, 7);
  std::vector<int> sequence(130);
  for (int t = 0; t < 130; ++t) sequence[static_cast<std::size_t>(t)] = t / 10;
  cull::array_view<int const> const numbers = sequence;
  std::vector<float> first;
  cull::default_observation whole{cull::observation_layout{.layers = {4}, .experts = experts}};
  auto collect = make_collector({1}, of);
  auto const all = collect({.router_input = {x.data(), 130, hidden}, .sequence = numbers}, whole.at(4));
  first.assign(all.data(), all.data() + 130 * hidden);
  whole.finish();
  for (int const threads : {1, 2, 4}) {
    for (std::int64_t const step : {1, 7, 64, 130}) {
      cull::default_observation seen{cull::observation_layout{.layers = {4}, .experts = experts}};
      auto parts = make_collector({threads}, of);
      for (std::int64_t t = 0; t < 130; t += step) {
        auto const count = std::min(step, 130 - t);
        auto const y =
            parts({.router_input = {x.data() + t * hidden, count, hidden}, .sequence = {numbers.data() + t, count}}, seen.at(4));
        REQUIRE(std::memcmp(y.data(), first.data() + t * hidden, static_cast<std::size_t>(count * hidden) * sizeof(float)) == 0);
      }
      seen.finish();
      CHECK(seen == whole);
    }
  }
  CHECK(whole.rejected() == 0);
}

TEST_CASE("collector: every chosen expert is counted once per token, with the norm before the gate") {
  owned_layer const of{8};
  auto const x = inputs(30, 9);
  cull::default_observation seen{cull::observation_layout{.layers = {4}, .experts = experts}};
  auto collect = make_collector({1}, of);
  collect({.router_input = {x.data(), 30, hidden}}, seen.at(4));
  std::int64_t total = 0;
  for (int e = 0; e < experts; ++e) {
    long double norms = 0, gated = 0;
    for (std::int64_t t = 0; t < 30; ++t) {
      for (int i = 0; i < top_k; ++i) {
        if (collect.routing().ids(t, i) != e) continue;
        norms += static_cast<long double>(collect.norms()(t, i));
        gated += static_cast<long double>(collect.routing().weights(t, i)) * static_cast<long double>(collect.norms()(t, i));
      }
    }
    auto const sums = seen.sums(4, e);
    total += sums.count();
    CHECK(sums.sum(cull::norm) == doctest::Approx(static_cast<double>(norms)).epsilon(1e-13));
    CHECK(sums.sum(cull::gate_norm) == doctest::Approx(static_cast<double>(gated)).epsilon(1e-13));
  }
  CHECK(total == 30 * top_k);
}
