// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include <cull/router.hpp>

#include "expert/matrices.hpp"
#include "support/levels.hpp"

namespace {

using cull::bf16_format;
using cull::f32_format;
using cull::nvfp4_modelopt;
using expert_test::catch_error;
using expert_test::empty_tokens;
using expert_test::made;
using expert_test::random_tokens;
using test_support::at_every_level;
using test_support::cpu;

template <class F>
void check_logits(std::int64_t tokens, std::int64_t experts, std::int64_t hidden) {
  auto const w = made<F>::weights(experts, hidden, 3);
  auto const x = random_tokens(tokens, hidden, 4);
  auto logits = empty_tokens(tokens, experts);
  cull::router_logits(cpu(2), x.view(), made<F>::view(w), logits.view());
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t e = 0; e < experts; ++e) {
      auto const exact = naive_dot([&](auto k) { return x.at(t, k); }, w, e);
      REQUIRE(std::abs(logits.at(t, e) - exact.value) <=
              0x1p-24L * std::abs(exact.value) + test_support::sum_error(hidden) * exact.magnitude);
    }
  }
}

}  // namespace

TEST_CASE("router_logits: x times the router's rows, in f32 unless asked otherwise") {
  at_every_level([&] {
    check_logits<bf16_format>(7, 64, 128);
    check_logits<f32_format>(2, 5, 9);
    check_logits<nvfp4_modelopt>(3, 8, 48);
  });
}

TEST_CASE("router_logits: bf16 precision rounds the activations") {
  at_every_level([&] {
    std::vector<float> const weights{1.0f, -2.0f};
    cull::matrix<f32_format> const w{{weights.data(), 1}, 2, 1};
    float const x = 1.0f + 0x1p-8f + 0x1p-12f;  // above the midpoint of 1 and its bf16 successor
    std::vector<float> logits(2);
    cull::matrix_view<float const> const in{&x, 1, 1};
    cull::matrix_view<float> const out{logits.data(), 1, 2};
    cull::router_logits(cpu(), in, w, out);
    CHECK(logits == std::vector<float>{x, -2.0f * x});
    cull::router_logits<cull::bf16_precision>(cpu(), in, w, out);
    CHECK(logits == std::vector<float>{1.0f + 0x1p-7f, -2.0f - 0x1p-6f});
  });
}

TEST_CASE("router_logits: a token's logits have the same bits alone and in company") {
  at_every_level([&] {
    auto const w = made<bf16_format>::weights(64, 272, 5);
    auto const x = random_tokens(130, 272, 6);
    auto together = empty_tokens(130, 64);
    cull::router_logits(cpu(4), x.view(), made<bf16_format>::view(w), together.view());
    for (std::int64_t t = 0; t < 130; ++t) {
      auto alone = empty_tokens(1, 64);
      cull::router_logits(cpu(), x.view().rows(t, 1), made<bf16_format>::view(w), alone.view());
      REQUIRE(expert_test::same_bits(together.view().row(t), alone.view().row(0)));
    }
  });
}

TEST_CASE("router_logits: refuses shapes that do not fit") {
  auto const w = made<f32_format>::weights(5, 8, 7);
  auto const refused = [&](std::int64_t x_cols, std::int64_t logit_cols) {
    auto const x = random_tokens(2, x_cols, 8);
    auto logits = empty_tokens(2, logit_cols);
    return catch_error([&] { cull::router_logits(cpu(), x.view(), made<f32_format>::view(w), logits.view()); });
  };
  CHECK_FALSE(refused(8, 5).thrown);
  CHECK(refused(7, 5).code == cull::errc::shape_mismatch);
  CHECK(refused(8, 6).code == cull::errc::shape_mismatch);
}

TEST_CASE("moe_layer: hidden size in every format, and a router from its settings and bias") {
  at_every_level([&] {
    auto const plain = made<bf16_format>::weights(4, 48, 9);
    auto const packed = made<nvfp4_modelopt>::weights(4, 48, 10);
    cull::moe_layer<> layer;
    layer.router_weight = made<bf16_format>::view(plain);
    CHECK(layer.hidden() == 48);
    layer.router_weight = made<nvfp4_modelopt>::view(packed);
    CHECK(layer.hidden() == 48);
    cull::moe_layer<cull::matrix<bf16_format>> known;
    known.router_weight = made<bf16_format>::view(plain);
    CHECK(known.hidden() == 48);

    layer.router = {.scoring = cull::scoring::sigmoid, .top_k = 1, .scaling = 2.5f};
    layer.correction_bias = {0.0f, 0.0f, 0.75f, 0.0f};
    std::vector<float> const logits{0.0f, 0.5f, 0.0f, -1.0f};
    cull::routing_buffer chosen;
    cull::route(cpu(), cull::model_router{layer}, cull::matrix_view<float const>{logits.data(), 1, 4}, chosen);
    CHECK(chosen.view().ids(0, 0) == 2);
    CHECK(chosen.view().weights(0, 0) == 1.25f);
  });
}
