// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "router/reference.hpp"

namespace {

using router_test::catch_error;
using router_test::logits_block;

constexpr int experts = 32;
constexpr int k = 6;

/// The stages that the settings state, composed when compiling; `use` gets the router.
template <class Router, class Use>
void finish(cull::router_settings const& s, Router const& router, Use const& use) {
  bool const renormalized = s.renormalize == cull::renormalization::on;
  if (renormalized && s.scaling != 1.0f) return use(router | cull::renormalize(s.epsilon) | cull::scale(s.scaling));
  if (renormalized) return use(router | cull::renormalize(s.epsilon));
  if (s.scaling != 1.0f) return use(router | cull::scale(s.scaling));
  use(router);
}

template <class Router, class Use>
void limit_and_finish(cull::router_settings const& s, Router const& router, Use const& use) {
  if (s.groups == 1) return finish(s, router | cull::choose<k>(), use);
  if (s.group_score == cull::group_scoring::maximum) {
    return finish(s, router | cull::within_groups(s.groups, s.top_groups, cull::maximum{}) | cull::choose<k>(), use);
  }
  finish(s, router | cull::within_groups(s.groups, s.top_groups, cull::sum_of_two{}) | cull::choose<k>(), use);
}

template <class Score, class Use>
void prefer_and_finish(cull::router_settings const& s, Score const& score, std::vector<float> const& bias,
                       Use const& use) {
  if (bias.empty()) return limit_and_finish(s, score, use);
  limit_and_finish(s, score | cull::prefer(bias), use);
}

template <class Use>
void with_composed(cull::router_settings const& s, std::vector<float> const& bias, Use const& use) {
  if (s.scoring == cull::scoring::sigmoid) return prefer_and_finish(s, cull::score<cull::sigmoid>(), bias, use);
  prefer_and_finish(s, cull::score<cull::softmax>(), bias, use);
}

struct agreement {
  int rows = 0;
  int near_ties = 0;  ///< rows whose choice f32 need not make as f64 does
};

void compare_with_reference(cull::router_settings const& s, std::vector<float> const& bias,
                            std::vector<float> const& logit_bias, logits_block const& logits, cull::routing<> const& got,
                            agreement& seen) {
  for (std::int64_t t = 0; t < logits.tokens; ++t) {
    auto const expected = router_test::reference_route(logits.row(t), s, bias, router_test::all_of(experts), logit_bias);
    ++seen.rows;
    if (expected.gap < 1e-5) {
      ++seen.near_ties;
      continue;
    }
    for (std::size_t i = 0; i < k; ++i) REQUIRE(got.ids(t, static_cast<std::int64_t>(i)) == expected.ids[i]);
    REQUIRE(router_test::close_weights(expected, got.weights.row(t)));
  }
}

std::vector<std::vector<float>> biases() {
  router_test::source from{23};
  return {{}, from.values(experts, -0.2f, 0.2f), std::vector<float>(experts, 0.0f)};
}

}  // namespace

TEST_CASE("model_router: every combination of settings against f64, and the same bits as the composed stages") {
  auto const logits = router_test::random_logits(60, experts, 29);
  agreement seen;
  int combinations = 0;
  for (auto const& s : router_test::every_setting(k, 4, 2)) {
    for (auto const& bias : biases()) {
      CAPTURE(router_test::describe(s));
      CAPTURE(bias.size());
      auto const got = router_test::routed(cull::model_router{s, bias}, logits);
      compare_with_reference(s, bias, {}, logits, got.view(), seen);
      int used = 0;
      with_composed(s, bias, [&](auto const& router) {
        ++used;
        CHECK(router_test::same_bits(got.view(), router_test::routed(router, logits).view()));
      });
      CHECK(used == 1);
      ++combinations;
    }
  }
  CHECK(combinations == 96);
  CHECK(seen.near_ties * 100 < seen.rows);
  MESSAGE(seen.rows << " rows, near ties left out: " << seen.near_ties);
}

TEST_CASE("model_router: what other families add, in every combination, against f64") {
  auto const logits = router_test::random_logits(40, experts, 37);
  auto const logit_bias = router_test::source{38}.values(experts, -1.0f, 1.0f);
  agreement seen;
  for (auto const& s : router_test::every_other_setting(k, 4, 2)) {
    for (auto const& bias : biases()) {
      CAPTURE(router_test::describe(s));
      CAPTURE(bias.size());
      compare_with_reference(s, bias, {}, logits, router_test::routed(cull::model_router{s, bias}, logits).view(), seen);
      auto const with_bias = router_test::routed(cull::model_router{s, bias, logit_bias}, logits);
      compare_with_reference(s, bias, logit_bias, logits, with_bias.view(), seen);
    }
  }
  CHECK(seen.rows > 10000);
  CHECK(seen.near_ties * 100 < seen.rows);
  MESSAGE(seen.rows << " rows, near ties left out: " << seen.near_ties);
}

TEST_CASE("model_router: a bias decides who, never how much") {
  std::vector<float> bias(8, 0.0f);
  bias[5] = 10.0f;
  cull::router_settings const s{.scoring = cull::scoring::sigmoid, .top_k = 2};
  logits_block const logits{{2, 1, 0, -1, -2, -3, 0, 0}, 1, 8};
  auto const got = router_test::routed(cull::model_router{s, bias}, logits);
  CHECK(got.view().ids(0, 0) == 0);
  CHECK(got.view().ids(0, 1) == 5);
  CHECK(got.view().weights(0, 1) == doctest::Approx(1 / (1 + std::exp(3.0))).epsilon(1e-6));
}

TEST_CASE("model_router: ties go to the lowest ids, groups included") {
  cull::router_settings s{.top_k = 3, .renormalize = cull::renormalization::on, .scaling = 2.5f};
  logits_block const logits{std::vector<float>(12, 0.75f), 1, 12};
  for (int const groups : {1, 4}) {
    s.groups = groups;
    s.top_groups = 2;
    auto const got = router_test::routed(cull::model_router{s, {}}, logits);
    for (int i = 0; i < 3; ++i) {
      CHECK(got.view().ids(0, i) == i);
      CHECK(got.view().weights(0, i) == doctest::Approx(2.5 / 3).epsilon(1e-6));
    }
  }
}

TEST_CASE("model_router: from anything that has settings and a bias") {
  struct layer {
    cull::router_settings router;
    std::vector<float> correction_bias;
  };
  layer const from{{.scoring = cull::scoring::sigmoid, .top_k = 2, .renormalize = cull::renormalization::on},
                   {0.0f, 0.5f, 0.0f, 0.0f}};
  auto const logits = router_test::random_logits(20, 4, 31);
  CHECK(cull::model_router{from}.k() == 2);
  CHECK(router_test::same_bits(
      router_test::routed(cull::model_router{from}, logits).view(),
      router_test::routed(cull::model_router{from.router, from.correction_bias}, logits).view()));
  static_assert(!std::is_constructible_v<cull::model_router, int>);
}

TEST_CASE("model_router: the logit bias of a layer that has one") {
  struct layer {
    cull::router_settings router;
    std::vector<float> correction_bias;
    std::vector<float> router_bias;
  };
  layer const from{{.scoring = cull::scoring::softmax_of_chosen, .top_k = 2}, {}, {0.0f, 3.0f, -1.0f, 0.5f}};
  auto const logits = router_test::random_logits(20, 4, 31);
  CHECK(router_test::same_bits(
      router_test::routed(cull::model_router{from}, logits).view(),
      router_test::routed(cull::model_router{from.router, {}, from.router_bias}, logits).view()));
  CHECK_FALSE(router_test::same_bits(router_test::routed(cull::model_router{from}, logits).view(),
                                     router_test::routed(cull::model_router{from.router, {}}, logits).view()));
}

TEST_CASE("model_router: refuses what its stages refuse") {
  auto const refused = [](cull::router_settings const& s, std::vector<float> const& bias) {
    return catch_error([&] { router_test::routed(cull::model_router{s, bias}, router_test::random_logits(2, 8, 1)); });
  };
  CHECK(refused({.top_k = 9}, {}).text == "choose: cannot choose 9 of 8 experts");
  CHECK(refused({.top_k = 9}, {}).code == cull::errc::out_of_range);
  CHECK(refused({.top_k = 2}, std::vector<float>(7)).text == "prefer: 7 bias values for 8 experts");
  CHECK(refused({.top_k = 2}, std::vector<float>(7)).code == cull::errc::shape_mismatch);
  CHECK(refused({.top_k = 2, .groups = 3, .top_groups = 1}, {}).code == cull::errc::shape_mismatch);
  CHECK(refused({.top_k = 2, .groups = 8, .top_groups = 2}, {}).code == cull::errc::shape_mismatch);
  cull::router_settings const alone{
      .top_k = 2, .groups = 8, .top_groups = 2, .group_score = cull::group_scoring::maximum};
  CHECK_FALSE(refused(alone, {}).thrown);
  CHECK(refused({.top_k = 2, .zero_experts = 8}, {}).text == "model_router: 8 zero-compute experts of 8 router rows");
  CHECK(refused({.top_k = 2, .zero_experts = -1}, {}).code == cull::errc::out_of_range);
  CHECK(refused({.scoring = cull::scoring::softmax_of_chosen, .top_k = 2, .bias_in_weight = true}, {}).code ==
        cull::errc::out_of_range);
  auto const short_bias = catch_error([] {
    std::vector<float> const seven(7);
    router_test::routed(cull::model_router{{.top_k = 2}, {}, seven}, router_test::random_logits(2, 8, 1));
  });
  CHECK(short_bias.text == "add_logit_bias: 7 bias values for 8 experts");
  auto const few = refused({.top_k = 3, .groups = 4, .top_groups = 1}, {});
  CHECK(few.code == cull::errc::out_of_range);
  CHECK(few.text == "route: token 0 has 2 eligible experts and needs 3; keep more experts per group");
}
