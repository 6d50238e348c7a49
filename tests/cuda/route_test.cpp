// SPDX-License-Identifier: Apache-2.0
// Routers on the executor of the tests: the bits of the CPU, ties included, in any order of threads.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include <doctest/doctest.h>
#include <cull/cuda/route.hpp>
#include <cull/router.hpp>

#include "simt/on_simt.hpp"
#include "whole_sectors.hpp"

using namespace simt_test;

namespace {

/// Random logits of few distinct values, so that there are ties, zeros of both signs among them.
std::vector<float> tied_logits(std::int64_t tokens, std::int64_t experts, std::uint64_t seed) {
  std::mt19937_64 random{seed};
  std::vector<float> out(static_cast<std::size_t>(tokens * experts));
  for (auto& v : out) {
    auto const n = static_cast<int>(random() % 41) - 20;
    v = n == 0 ? (random() % 2 == 0 ? 0.0f : -0.0f) : static_cast<float>(n) * 0.37f;
  }
  return out;
}

template <class HostRouter, class DeviceRouter>
void check_same(HostRouter const& host, DeviceRouter const& device, std::int64_t tokens, std::int64_t experts,
                std::uint64_t seed) {
  auto const logits = tied_logits(tokens, experts, seed);
  cull::routing_buffer expected;
  cull::route(cull::on_cpu{}, host, cull::matrix_view<float const>{logits.data(), tokens, experts}, expected);
  device_array<float> const device_logits{logits};
  race_detector races;
  on_simt const exec{{.seed = seed, .watch = {.races = &races}}};
  cull::device_routing<on_simt> got{exec};
  cull::route(exec, device, device_logits.view(tokens, experts), got);
  CHECK_NOTHROW(got.check());
  auto const size = static_cast<std::size_t>(tokens * host.k());
  CHECK(std::memcmp(got.view().ids.data(), expected.view().ids.data(), size * sizeof(std::int32_t)) == 0);
  CHECK(std::memcmp(got.view().weights.data(), expected.view().weights.data(), size * sizeof(float)) == 0);
}

std::vector<float> few_values(std::int64_t size, std::uint64_t seed) {
  auto v = tied_logits(1, size, seed);
  for (auto& x : v) x *= 0.05f;
  return v;
}

/// A stage of one's own: runs on one lane.
struct temperature {
  static constexpr auto reads = cull::row_part::logits;
  static constexpr auto writes = cull::row_part::logits;
  static constexpr auto before = cull::row_part::scores;
  float t;
  CULL_HD void operator()(cull::row_ref row) const {
    for (auto& s : row.scores) s = s / t;
  }
};

}  // namespace

TEST_CASE("routers composed of stages: the CPU's bits") {
  using namespace cull;
  for (std::uint64_t const seed : {1u, 2u, 3u}) {
    for (std::int64_t const experts : {8, 31, 64, 250, 256, 384, 1024}) {
      auto const bias = few_values(experts, seed + 7);
      device_array<float> const there{bias};
      std::vector<int> kept;
      for (int e = 0; e < experts; e += e % 3 == 0 ? 1 : 2) kept.push_back(e);
      device_array<int> const kept_there{kept};
      check_same(score<sigmoid>() | prefer(bias) | choose(4) | renormalize(1e-20f) | scale(2.5f),
                 score<sigmoid>() | prefer(there.view()) | choose(4) | renormalize(1e-20f) | scale(2.5f), 5, experts, seed);
      check_same(keep_only(kept) | score<softmax>() | choose<3>(), keep_only(kept_there.view()) | score<softmax>() | choose<3>(),
                 5, experts, seed);
      check_same(add_logit_bias(bias) | temperature{0.7f} | score<unscored>() | choose(2) | weigh_by_softmax(),
                 add_logit_bias(there.view()) | temperature{0.7f} | score<unscored>() | choose(2) | weigh_by_softmax(), 5,
                 experts, seed);
    }
    auto const two = score<sigmoid>() | within_groups(8, 4, sum_of_two{}) | choose(8) | renormalize(0.0f, 0.1f);
    auto const one = score<softmax>() | within_groups(64, 3, maximum{}) | choose(6);
    check_same(two, two, 9, 256, seed);
    check_same(one, one, 9, 128, seed);
    check_same(score<softmax>() | choose(64), score<softmax>() | choose(64), 3, 64, seed);
  }
}

TEST_CASE("routers from settings: the CPU's bits for every way of scoring") {
  for (std::uint64_t const seed : {1u, 2u, 3u}) {
    for (auto const how :
         {cull::scoring::softmax, cull::scoring::sigmoid, cull::scoring::softmax_of_chosen, cull::scoring::sigmoid_of_chosen}) {
      for (auto const group : {cull::group_scoring::sum_of_two, cull::group_scoring::maximum}) {
        auto const bias = few_values(96, seed), logit_bias = few_values(96, seed + 1);
        device_array<float> const bias_there{bias}, logit_bias_there{logit_bias};
        cull::router_settings const settings{.scoring = how,
                                             .top_k = 6,
                                             .groups = 6,
                                             .top_groups = 2,
                                             .group_score = group,
                                             .renormalize = cull::renormalization::on,
                                             .scaling = 2.5f};
        check_same(cull::model_router{settings, bias, logit_bias},
                   cull::basic_model_router<cull::device_memory>{settings, bias_there.view(), logit_bias_there.view()}, 7, 96,
                   seed);
      }
    }
  }
}

TEST_CASE("rows of more than 256 experts: the CPU's bits") {
  for (std::uint64_t const seed : {1u, 2u, 3u}) {
    auto const eight = cull::score<cull::softmax>() | cull::choose<8>();
    check_same(eight, eight, 3, 512, seed);
    auto const bias = few_values(300, seed);
    device_array<float> const there{bias};
    cull::router_settings const settings{.scoring = cull::scoring::sigmoid, .top_k = 8, .renormalize = cull::renormalization::on};
    check_same(cull::model_router{settings, bias}, cull::basic_model_router<cull::device_memory>{settings, there.view()}, 3, 300,
               seed);
  }
}

TEST_CASE("routing on the device reports what the CPU refuses") {
  auto logits = tied_logits(6, 16, 3);
  logits[5] = NAN;
  logits[40] = -INFINITY;
  device_array<float> const there{logits};
  cull::device_routing<on_simt> out{on_simt{}};
  auto const router = cull::score<cull::sigmoid>() | cull::choose(2);
  cull::route(on_simt{}, router, there.view(6, 16), out);
  CHECK_THROWS_WITH_AS(out.check(), "route: 2 tokens have a logit that is not finite", cull::error);

  cull::device_routing<on_simt> few{on_simt{}};
  device_array<float> const sound{tied_logits(3, 16, 3)};
  cull::route(on_simt{}, cull::score<cull::sigmoid>() | cull::within_groups(8, 1, cull::maximum{}) | cull::choose(3),
              sound.view(3, 16), few);
  CHECK_THROWS_WITH_AS(few.check(), doctest::Contains("3 tokens have fewer eligible experts"), cull::error);

  CHECK_THROWS_AS(cull::route(on_simt{}, cull::score<cull::sigmoid>() | cull::choose(65), there.view(1, 96), out), cull::error);
}

namespace {

/// Lane 0 runs a stage of one's own; `synchronised`: with the barriers of its kind.
template <bool Synchronised>
struct own_stage {
  static constexpr unsigned threads = 32;
  struct Shared {
    cull::simt::warp_row_memory<64, 4> row;
  };
  template <class Ctx>
  void operator()(Ctx const& c, Shared& s) const {
    auto const row = s.row.row(64, 4);
    cull::simt::for_own_experts(c, row, [&](int e) { c.store_shared(row.scores + e, static_cast<float>(e)); });
    temperature const stage{2.0f};
    if (Synchronised) return cull::simt::run_stage(c, stage, row);
    if (c.lane() == 0) stage(row.serial(c));
  }
};

}  // namespace

TEST_CASE("what a stage of one's own does to the row counts as its lane's accesses") {
  for (std::uint64_t const seed : {0u, 1u, 2u}) {
    race_detector races;
    on_simt const exec{{.seed = seed, .watch = {.races = &races}}};
    CHECK_NOTHROW(exec.launch({1}, own_stage<true>{}));
    CHECK_THROWS_WITH_AS(exec.launch({1}, own_stage<false>{}), doctest::Contains("data race"), fault);
  }
}

TEST_CASE("kept ids are read within their array") {
  device_array<float> const logits{tied_logits(1, 64, 3)};
  device_array<int> const ids{std::vector<int>{3, 5, 9}};
  cull::device_routing<on_simt> out{on_simt{}};
  auto const router = [&](std::int64_t count) {
    return cull::keep_only(cull::array_view<int, cull::device_memory>{ids.data(), count}) | cull::score<cull::sigmoid>() |
           cull::choose(2);
  };
  CHECK_NOTHROW(cull::route(on_simt{}, router(3), logits.view(1, 64), out));
  CHECK_THROWS_WITH_AS(cull::route(on_simt{}, router(64), logits.view(1, 64), out), doctest::Contains("out of range"), fault);
}

namespace {

/// Scores that are all different, from which a warp chooses ids without a pattern.
template <class Router>
void check_traffic(Router const& router, std::int64_t experts) {
  std::vector<float> values(static_cast<std::size_t>(8 * experts));
  std::mt19937_64 random{11};
  std::normal_distribution<float> normal;
  for (auto& v : values) v = normal(random);
  device_array<float> const logits{values};
  memory_trace trace;
  on_simt const exec{{.watch = {.trace = &trace}}};
  cull::device_routing<on_simt> out{exec};
  cull::route(exec, router, logits.view(8, experts), out);
  CHECK(cuda_tests::check_whole(trace, {{.header = "warp_select.hpp", .most_conflicts = 1.0}}) >= 3);
  auto const read = trace.by_line(space::global, access_kind::read);
  CHECK(read.size() <= 2);  // logits, and a bias where there is one
  for (auto const& each : read) CHECK(each.second.bytes_used == static_cast<std::uint64_t>(8 * experts) * 4);
}

}  // namespace

TEST_CASE(
    "every router reads logits and biases once, whole sectors at a time, without bank conflicts but for scores of the chosen") {
  using namespace cull;
  check_traffic(score<sigmoid>() | choose(8), 256);
  check_traffic(score<softmax>() | choose<8>(), 256);
  check_traffic(score<softmax>() | choose<8>(), 1024);
  check_traffic(score<sigmoid>() | within_groups(8, 4, sum_of_two{}) | choose(8) | renormalize(1e-20f) | scale(2.5f), 256);
  device_array<float> const bias{few_values(1024, 3)};
  router_settings const settings{.scoring = scoring::sigmoid,
                                 .top_k = 8,
                                 .groups = 8,
                                 .top_groups = 4,
                                 .group_score = group_scoring::sum_of_two,
                                 .renormalize = renormalization::on,
                                 .scaling = 2.5f};
  for (std::int64_t const experts : {256, 1024}) {
    check_traffic(basic_model_router<device_memory>{settings, {bias.data(), experts}}, experts);
  }
}
