// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "router/reference.hpp"

namespace {

using router_test::as_given;
using router_test::catch_error;
using router_test::row_buffer;

static_assert(std::is_same_v<decltype(cull::choose(8)), cull::choose_stage>);
static_assert(std::is_same_v<decltype(cull::choose<8>()), cull::choose_static<8>>);
static_assert(cull::choose(8).k() == 8 && cull::choose<8>().k() == 8);
static_assert(std::is_empty_v<cull::choose_static<8>>);
static_assert(cull::router<cull::choose_static<8>>);

/// Chosen because fewer than k candidates come before it: no sort, no insertion.
std::vector<std::int32_t> chosen_by_counting(row_buffer const& row, int k) {
  std::vector<std::int32_t> out;
  for (std::size_t e = 0; e < row.choice.size(); ++e) {
    int before = 0;
    for (std::size_t o = 0; o < row.choice.size(); ++o) {
      bool const wins = row.choice[o] > row.choice[e] || (row.choice[o] == row.choice[e] && o < e);
      before += row.candidate[o] && wins ? 1 : 0;
    }
    if (row.candidate[e] && before < k) out.push_back(static_cast<std::int32_t>(e));
  }
  return out;
}

void check_every_k(std::vector<float> const& choice, unsigned mask) {
  for (int k = 1; k <= static_cast<int>(choice.size()); ++k) {
    row_buffer row{choice, k};
    int candidates = 0;
    for (std::size_t e = 0; e < choice.size(); ++e) {
      row.candidate[e] = (mask >> e) & 1u;
      row.scores[e] = static_cast<float>(e) + 0.5f;
      candidates += row.candidate[e];
    }
    cull::choose(k)(row.ref());
    if (candidates < k) continue;
    REQUIRE(row.ids == chosen_by_counting(row, k));
    for (std::size_t i = 0; i < row.ids.size(); ++i) REQUIRE(row.weights[i] == static_cast<float>(row.ids[i]) + 0.5f);
  }
}

template <class Choice>
cull::routing_buffer chosen_with(Choice choice, router_test::logits_block const& logits) {
  return router_test::routed(cull::score<cull::sigmoid>() | choice | cull::renormalize(1e-20f) | cull::scale(2.5f),
                             logits);
}

template <int... K>
bool static_forms_agree(router_test::logits_block const& logits, std::integer_sequence<int, K...>) {
  return (router_test::same_bits(chosen_with(cull::choose<K + 1>(), logits).view(),
                                 chosen_with(cull::choose(K + 1), logits).view()) &&
          ...);
}

template <class Stage>
std::vector<float> weights_after(std::vector<float> const& scores, Stage const& stage) {
  row_buffer row{scores, static_cast<int>(scores.size())};
  cull::choose(static_cast<int>(scores.size()))(row.ref());
  stage(row.ref());
  return row.weights;
}

}  // namespace

TEST_CASE(
    "choose: every row of five choices out of four values, every set of candidates, every k; ties to the lowest id") {
  float const values[] = {-1.0f, 0.0f, -0.0f, 2.0f};
  for (int code = 0; code < 1024; ++code) {
    std::vector<float> choice;
    for (int i = 0; i < 5; ++i) choice.push_back(values[(code >> (2 * i)) & 3]);
    for (unsigned mask = 0; mask < 32; ++mask) check_every_k(choice, mask);
  }
}

TEST_CASE("choose: rows of 256 experts with many ties") {
  router_test::source from{11};
  for (int trial = 0; trial < 100; ++trial) {
    std::vector<float> choice(256);
    for (auto& c : choice) c = static_cast<float>(from.below(40)) / 64.0f;
    row_buffer row{choice, 8};
    cull::choose(8)(row.ref());
    REQUIRE(row.ids == chosen_by_counting(row, 8));
  }
}

TEST_CASE("choose: far below zero is no reason not to be chosen") {
  row_buffer row{{-3e38f, -1e38f, -2e38f}, 2};
  cull::choose(2)(row.ref());
  CHECK(row.ids == std::vector<std::int32_t>{1, 2});
}

TEST_CASE("choose<K>: the same bits as choose(k), for K up to 32") {
  CHECK(static_forms_agree(router_test::random_logits(50, 64, 5), std::make_integer_sequence<int, 32>{}));
}

TEST_CASE("choose: refuses k below one and above the experts") {
  auto const refused = [](int k, std::int64_t experts) { return catch_error([&] { cull::choose(k).check(experts); }); };
  CHECK(refused(9, 8).code == cull::errc::out_of_range);
  CHECK(refused(9, 8).text == "choose: cannot choose 9 of 8 experts");
  CHECK(refused(0, 8).text == "choose: cannot choose 0 of 8 experts");
  CHECK(refused(-1, 8).code == cull::errc::out_of_range);
  CHECK(catch_error([] { cull::choose<9>().check(8); }).text == "choose: cannot choose 9 of 8 experts");
  CHECK_FALSE(refused(8, 8).thrown);
  CHECK_FALSE(catch_error([] { cull::choose<8>().check(8); }).thrown);
}

TEST_CASE("renormalize: the f32 sum goes up by id, epsilon last") {
  // 2^24 swallows a 1 that comes after it; two that come before count.
  CHECK(weights_after({0x1p24f, 1, 1}, cull::renormalize(0.0f)) == std::vector<float>{1.0f, 0x1p-24f, 0x1p-24f});
  CHECK(weights_after({1, 1, 0x1p24f}, cull::renormalize(0.0f))[2] == 0x1p24f / 0x1.000002p24f);
  CHECK(weights_after({1, 0x1p24f}, cull::renormalize(1.0f))[1] == 1.0f);
}

TEST_CASE("renormalize: epsilon counts where it is not negligible, and saves a sum of zero") {
  CHECK(weights_after({0.5f, 0.5f}, cull::renormalize(1.0f)) == std::vector<float>{0.25f, 0.25f});
  CHECK(weights_after({0.75f, 0.25f}, cull::renormalize(1e-20f)) == std::vector<float>{0.75f, 0.25f});
  CHECK(weights_after({0.0f, 0.0f}, cull::renormalize(1e-20f)) == std::vector<float>{0.0f, 0.0f});
  auto const tiny = weights_after({1e-20f, 1e-20f}, cull::renormalize(1e-20f));
  CHECK(tiny[0] == doctest::Approx(1.0 / 3).epsilon(1e-6));
}

TEST_CASE("renormalize and scale: against f64") {
  router_test::source from{17};
  for (int trial = 0; trial < 200; ++trial) {
    auto const scores = from.values(1 + from.below(16), 0.01f, 1.0f);
    double sum = 0;
    for (float const s : scores) sum += static_cast<double>(s);
    auto const weights = weights_after(scores, cull::renormalize(1e-20f));
    row_buffer row{scores, static_cast<int>(scores.size())};
    (cull::choose(static_cast<int>(scores.size())) | cull::scale(-2.5f))(row.ref());
    for (std::size_t i = 0; i < scores.size(); ++i) {
      REQUIRE(std::abs(weights[i] - static_cast<double>(scores[i]) / sum) <=
              2e-6 * static_cast<double>(scores[i]) / sum);
      REQUIRE(row.weights[i] == scores[i] * -2.5f);
    }
  }
}
