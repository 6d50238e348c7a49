// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "router/reference.hpp"

namespace weigh_tests {

namespace {

using cull::row_part;
using router_test::catch_error;
using router_test::logits_block;
using router_test::random_logits;
using router_test::routed;
using router_test::row_buffer;
using router_test::same_bits;

constexpr int experts = 16;

using by_logits = decltype(cull::score<cull::unscored>() | cull::choose(2));
static_assert(cull::includes(by_logits::writes, row_part::logit_scores));
static_assert(!cull::includes(decltype(cull::score<cull::softmax>())::writes, row_part::logit_scores));
static_assert(cull::router<decltype(cull::score<cull::unscored>() | cull::choose(2) | cull::weigh_by_softmax())>);

template <class Composed>
void check_same(cull::router_settings const& s, Composed const& composed, std::vector<float> const& bias = {},
                std::vector<float> const& logit_bias = {}) {
  auto const logits = random_logits(50, experts, 61);
  CHECK(same_bits(routed(cull::model_router{s, bias, logit_bias}, logits).view(), routed(composed, logits).view()));
}

}  // namespace

TEST_CASE("weigh_by_softmax: over the chosen only, closed cases and logits too far apart for e^x") {
  auto const router = cull::score<cull::unscored>() | cull::choose(2) | cull::weigh_by_softmax();
  row_buffer even{{9.0f, -4.0f, 9.0f, 8.0f}, 2};
  router(even.ref());
  CHECK(even.ids == std::vector<std::int32_t>{0, 2});
  CHECK(even.weights == std::vector<float>{0.5f, 0.5f});
  row_buffer apart{{-3e38f, 3e38f, -2e38f}, 2};
  router(apart.ref());
  CHECK(apart.ids == std::vector<std::int32_t>{1, 2});
  CHECK(apart.weights == std::vector<float>{1.0f, 0.0f});
  row_buffer thirds{{0.0f, std::log(2.0f), -50.0f}, 2};
  router(thirds.ref());
  CHECK(thirds.weights[0] == doctest::Approx(1.0 / 3).epsilon(1e-6));
  CHECK(thirds.weights[1] == doctest::Approx(2.0 / 3).epsilon(1e-6));
}

TEST_CASE("weigh_by_sigmoid: the greatest logit wins where all sigmoids are 1, which scoring by sigmoid cannot tell") {
  std::vector<float> const saturated{30.0f, 40.0f, 200.0f, 35.0f};
  row_buffer by_logit{saturated}, by_score{saturated};
  (cull::score<cull::unscored>() | cull::choose(1) | cull::weigh_by_sigmoid())(by_logit.ref());
  (cull::score<cull::sigmoid>() | cull::choose(1))(by_score.ref());
  CHECK(by_logit.ids[0] == 2);
  CHECK(by_logit.weights[0] == 1.0f);
  CHECK(by_score.ids[0] == 0);
  row_buffer low{{-3.0f, -2.0f, -5.0f}};
  (cull::score<cull::unscored>() | cull::choose(1) | cull::weigh_by_sigmoid())(low.ref());
  CHECK(low.ids[0] == 1);
  CHECK(low.weights[0] == doctest::Approx(1 / (1 + std::exp(2.0))).epsilon(1e-6));
}

TEST_CASE("weigh_by_choice: what prefer added counts in the weights") {
  std::vector<float> const bias{0.0f, 0.25f, 1.0f};
  row_buffer row{{0.0f, 0.0f, 0.0f}, 2};
  (cull::score<cull::sigmoid>() | cull::prefer(bias) | cull::choose(2) | cull::weigh_by_choice())(row.ref());
  CHECK(row.ids == std::vector<std::int32_t>{1, 2});
  CHECK(row.weights == std::vector<float>{0.75f, 1.5f});
}

TEST_CASE("add_logit_bias: added in f32 before scores, whatever stands for keep_only's side") {
  std::vector<float> const bias{0.0f, 5.0f, -5.0f, 0.0f};
  std::vector<int> const kept{0, 1, 3};
  logits_block const logits{{1.0f, 0.5f, 9.0f, 0.0f, 1e8f, 1.0f, 2.0f, 3.0f}, 2, 4};
  auto const stages = cull::score<cull::unscored>() | cull::choose(2) | cull::weigh_by_softmax();
  auto const before = routed(cull::add_logit_bias(bias) | cull::keep_only(kept) | stages, logits);
  auto const after = routed(cull::keep_only(kept) | cull::add_logit_bias(bias) | stages, logits);
  CHECK(same_bits(before.view(), after.view()));
  CHECK(before.view().ids(0, 0) == 0);
  CHECK(before.view().ids(0, 1) == 1);
  CHECK(before.view().weights(0, 1) == doctest::Approx(1 / (1 + std::exp(-4.5))).epsilon(1e-6));
  CHECK(before.view().weights(1, 0) == 1.0f);
}

TEST_CASE("add_logit_bias: refuses a bias of another size, or not finite") {
  auto const refused = [](std::vector<float> const& bias) {
    return catch_error([&] {
      routed(cull::add_logit_bias(bias) | cull::score<cull::softmax>() | cull::choose(1), random_logits(1, 4, 1));
    });
  };
  CHECK_FALSE(refused({0, 0, 0, 0}).thrown);
  CHECK(refused({0, 0, 0}).code == cull::errc::shape_mismatch);
  CHECK(refused({0, 0, 0}).text == "add_logit_bias: 3 bias values for 4 experts");
  CHECK(refused({0, 0, HUGE_VALF, 0}).code == cull::errc::not_finite);
  CHECK(refused({0, 0, HUGE_VALF, 0}).text == "add_logit_bias: the bias of expert 2 is not finite");
}

TEST_CASE("renormalize: a least denominator, and none where it is 0") {
  auto const weights = [](float minimum) {
    row_buffer row{{0.125f, 0.125f, 0.0f}, 2};
    (cull::score(router_test::as_given{}) | cull::choose(2) | cull::renormalize(0.0f, minimum))(row.ref());
    return row.weights;
  };
  CHECK(weights(0.0f) == std::vector<float>{0.5f, 0.5f});
  CHECK(weights(0.25f) == std::vector<float>{0.5f, 0.5f});
  CHECK(weights(0.5f) == std::vector<float>{0.25f, 0.25f});
}

TEST_CASE("model_router: the bits of the stages composed, for each family's kind of router") {
  auto const bias = router_test::source{62}.values(experts, 0.0f, 0.3f);
  auto const logit_bias = router_test::source{63}.values(experts, -1.0f, 1.0f);
  auto const on = cull::renormalization::on;
  check_same({.scoring = cull::scoring::softmax_of_chosen, .top_k = 4},
             cull::add_logit_bias(logit_bias) | cull::score<cull::unscored>() | cull::choose(4) | cull::weigh_by_softmax(), {},
             logit_bias);
  check_same({.scoring = cull::scoring::sigmoid_of_chosen, .top_k = 1, .gate_on_input = true},
             cull::score<cull::unscored>() | cull::choose(1) | cull::weigh_by_sigmoid());
  check_same({.top_k = 3, .renormalize = on, .epsilon = 0.0f, .minimum = 0.5f},
             cull::score<cull::softmax>() | cull::prefer(bias) | cull::choose(3) | cull::renormalize(0.0f, 0.5f), bias);
  check_same({.scoring = cull::scoring::sigmoid, .top_k = 3, .renormalize = on, .epsilon = 1e-6f, .scaling = 2.0f},
             cull::score<cull::sigmoid>() | cull::prefer(bias) | cull::choose(3) | cull::renormalize(1e-6f) | cull::scale(2.0f),
             bias);
  check_same({.scoring = cull::scoring::sigmoid, .top_k = 3, .groups = 4, .top_groups = 2, .renormalize = on, .bias_in_weight = true},
             cull::score<cull::sigmoid>() | cull::prefer(bias) | cull::within_groups(4, 2, cull::sum_of_two{}) | cull::choose(3) |
                 cull::weigh_by_choice() | cull::renormalize(1e-20f),
             bias);
  check_same({.scoring = cull::scoring::softmax_of_chosen, .top_k = 3, .groups = 4, .top_groups = 2, .scaling = 1.5f},
             cull::score<cull::unscored>() | cull::prefer(bias) | cull::within_groups(4, 2, cull::sum_of_two{}) | cull::choose(3) |
                 cull::weigh_by_softmax() | cull::scale(1.5f),
             bias);
}

}  // namespace weigh_tests
