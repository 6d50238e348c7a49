// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "expert/matrices.hpp"
#include "support/levels.hpp"

namespace expert_mlp_tests {

namespace {

using cull::bf16_format;
using cull::f32_format;
using cull::nvfp4_modelopt;
using expert_test::catch_error;
using expert_test::empty_tokens;
using expert_test::made;
using expert_test::random_tokens;
using expert_test::stored;
using expert_test::tokens_block;
using test_support::at_every_level;
using test_support::cpu;

struct stored_expert {
  stored gate, up, down;
};

template <class F>
stored_expert make_expert(std::int64_t hidden, std::int64_t width, unsigned seed) {
  stored_expert out{made<F>::weights(width, hidden, seed), made<F>::weights(width, hidden, seed + 1),
                    made<F>::weights(hidden, width, seed + 2)};
  // NVFP4 scales differ by 2^15: a smaller tensor scale keeps silu in the range where it bends.
  for (auto* w : {&out.gate, &out.up, &out.down}) w->outer *= w->scales.empty() ? 1.0f : 0x1p-4f;
  return out;
}

template <class F>
cull::gated_expert<cull::matrix<F>> view_of(stored_expert const& e) {
  return {made<F>::view(e.gate), made<F>::view(e.up), made<F>::view(e.down)};
}

constexpr long double half_ulp = 0x1p-24L;

/// A value with a bound on how far an f32 calculation may be from it.
struct bounded {
  long double value;
  long double error;
};

/// silu(gate) * up, where gate and up are right to one rounding and what their sums of `cols` terms lose; silu moves by up to
/// (1 + |gate|) times as much as gate relatively, by 1.1 times absolutely.
bounded gated_value(expert_test::product const& gate, expert_test::product const& up, std::int64_t cols) {
  auto const silu = gate.value / (1 + std::exp(-gate.value));
  auto const value = silu * up.value;
  auto const lost = 1.1L * gate.magnitude * std::abs(up.value) + std::abs(silu) * up.magnitude;
  return {value, std::abs(value) * half_ulp * (std::abs(gate.value) + 8) + test_support::sum_error(cols) * lost};
}

long double ulp_of_bf16(long double x) { return std::ldexp(1.0L, std::ilogb(x) - 7); }

/// Rounds to bf16; where the bound crosses a midpoint either neighbour is right.
bounded rounded_to_bf16(bounded h) {
  auto const rounded = static_cast<long double>(expert_test::nearest_bf16(static_cast<float>(h.value)));
  if (h.value == 0) return {0, 0};
  auto const to_midpoint = std::abs(std::abs(h.value - rounded) - ulp_of_bf16(h.value) / 2);
  return {rounded, to_midpoint <= 2 * h.error ? 2 * ulp_of_bf16(h.value) : 0.0L};
}

/// silu(gate x) * up x for one token, rounded to bf16 where the precision is bf16's.
template <class X>
std::vector<bounded> hidden_values(stored_expert const& e, X const& x, bool bf16) {
  std::vector<bounded> out;
  for (std::int64_t i = 0; i < e.gate.rows; ++i) {
    auto const h = gated_value(naive_dot(x, e.gate, i), naive_dot(x, e.up, i), e.gate.cols);
    out.push_back(bf16 ? rounded_to_bf16(h) : h);
  }
  return out;
}

void check_token(stored_expert const& e, tokens_block const& x, tokens_block const& y, std::int64_t t, bool bf16) {
  auto const input = [&](std::int64_t k) { return bf16 ? expert_test::nearest_bf16(x.at(t, k)) : x.at(t, k); };
  auto const h = hidden_values(e, input, bf16);
  for (std::int64_t n = 0; n < e.down.rows; ++n) {
    bounded sum{0, 0};
    for (std::int64_t i = 0; i < e.down.cols; ++i) {
      auto const w = e.down.at(n, i) * e.down.outer;
      sum.value += w * h[static_cast<std::size_t>(i)].value;
      sum.error += std::abs(w) * (h[static_cast<std::size_t>(i)].error +
                                  test_support::sum_error(e.down.cols) * std::abs(h[static_cast<std::size_t>(i)].value));
    }
    REQUIRE(std::abs(y.at(t, n) - sum.value) <= sum.error + 1.01L * half_ulp * std::abs(sum.value) + 1e-35L);
  }
}

template <class Precision, class F>
void check_against_long_double(std::int64_t tokens, std::int64_t hidden, std::int64_t width) {
  auto const e = make_expert<F>(hidden, width, static_cast<unsigned>(hidden * 100 + width));
  auto const x = random_tokens(tokens, hidden, 7);
  auto y = empty_tokens(tokens, hidden);
  cull::expert_mlp<Precision>(cpu(2), view_of<F>(e), x.view(), y.view());
  bool const bf16 = std::is_same_v<Precision, cull::bf16_precision>;
  for (std::int64_t t = 0; t < tokens; ++t) check_token(e, x, y, t, bf16);
}

template <class Precision, class F>
void check_companions(std::vector<int> const& threads) {
  // From 86 tokens on, each product is large enough to be spread over threads.
  constexpr std::int64_t hidden = 128, width = 96;
  auto e = make_expert<F>(hidden, width, 31);
  expert_test::flatten_blocks(e.gate);
  expert_test::flatten_blocks(e.up);
  auto const view = view_of<F>(e);
  auto const x = expert_test::cancelling_tokens(130, hidden, 32);
  auto alone = empty_tokens(130, hidden);
  for (std::int64_t t = 0; t < 130; ++t) {
    cull::expert_mlp<Precision>(cpu(), view, x.view().rows(t, 1), alone.view().rows(t, 1));
  }
  for (std::int64_t m = 1; m <= 130; ++m) {
    for (int const count : threads) {
      if (count > 1 && m < 85 && m % 16 != 0) continue;
      auto y = empty_tokens(m, hidden);
      cull::expert_mlp<Precision>(cpu(count), view, x.view().rows(130 - m, m), y.view());
      for (std::int64_t t = 0; t < m; ++t) {
        REQUIRE(expert_test::same_bits(y.view().row(t), alone.view().row(130 - m + t)));
      }
    }
  }
}

}  // namespace

TEST_CASE("expert_mlp: f32 precision against long double") {
  at_every_level([&] {
    check_against_long_double<cull::f32_precision, nvfp4_modelopt>(5, 48, 80);
    check_against_long_double<cull::f32_precision, nvfp4_modelopt>(2, 128, 64);
    check_against_long_double<cull::f32_precision, bf16_format>(5, 33, 19);
    check_against_long_double<cull::f32_precision, f32_format>(3, 100, 7);
    check_against_long_double<cull::f32_precision, f32_format>(1, 1, 1);
  });
}

TEST_CASE("expert_mlp: bf16 precision rounds what goes into each product, and nothing else") {
  at_every_level([&] {
    check_against_long_double<cull::bf16_precision, nvfp4_modelopt>(5, 48, 80);
    check_against_long_double<cull::bf16_precision, bf16_format>(5, 33, 19);
    check_against_long_double<cull::bf16_precision, f32_format>(3, 100, 7);
  });
}

TEST_CASE("expert_mlp: a token's result has the same bits alone and in every batch, with 1, 2 and 4 threads") {
  at_every_level([&] {
    check_companions<cull::f32_precision, nvfp4_modelopt>({1, 2, 4});
    check_companions<cull::bf16_precision, nvfp4_modelopt>({1, 2, 4});
    check_companions<cull::f32_precision, bf16_format>({1, 4});
  });
}

TEST_CASE("expert_mlp: an activation of one's own") {
  at_every_level([&] {
    std::vector<float> const one{1.0f}, two{2.0f}, three{3.0f};
    cull::gated_expert<cull::matrix<f32_format>> const e{
        {{one.data(), 1}, 1, 1}, {{two.data(), 1}, 1, 1}, {{three.data(), 1}, 1, 1}};
    std::vector<float> const x{-2.0f, 0.5f, 4.0f};
    std::vector<float> y(3);
    auto const relu = [](float gate, float up) { return gate > 0 ? gate * up : 0.0f; };
    cull::expert_mlp(cpu(), e, cull::matrix_view<float const>{x.data(), 3, 1}, cull::matrix_view<float>{y.data(), 3, 1}, relu);
    CHECK(y == std::vector<float>{0.0f, 1.5f, 96.0f});
  });
}

TEST_CASE("expert_mlp: rows apart, nothing between them written") {
  at_every_level([&] {
    auto const e = make_expert<bf16_format>(9, 5, 51);
    auto const x = random_tokens(4, 9, 52);
    auto expected = empty_tokens(4, 9);
    cull::expert_mlp(cpu(), view_of<bf16_format>(e), x.view(), expected.view());
    tokens_block in{std::vector<float>(4 * 14, 1e30f), 4, 9, 14}, out{std::vector<float>(4 * 11, -77.0f), 4, 9, 11};
    for (std::int64_t t = 0; t < 4; ++t) std::copy_n(x.view().row(t).data(), 9, in.view().row(t).data());
    cull::expert_mlp(cpu(), view_of<bf16_format>(e), in.view(), out.view());
    CHECK(expert_test::same_bits(out, expected));
    for (std::size_t t = 0; t < 4; ++t) CHECK((out.values[t * 11 + 9] == -77.0f && out.values[t * 11 + 10] == -77.0f));
  });
}

TEST_CASE("expert_mlp: projections in different formats") {
  at_every_level([&] {
    auto const gate = made<nvfp4_modelopt>::weights(16, 32, 61);
    auto const up = made<bf16_format>::weights(16, 32, 62);
    auto const down = made<f32_format>::weights(32, 16, 63);
    cull::gated_expert<> const e{made<nvfp4_modelopt>::view(gate), made<bf16_format>::view(up), made<f32_format>::view(down)};
    auto const x = random_tokens(3, 32, 64);
    auto y = empty_tokens(3, 32);
    cull::expert_mlp(cpu(), e, x.view(), y.view());
    for (std::int64_t t = 0; t < 3; ++t) check_token({gate, up, down}, x, y, t, false);
  });
}

TEST_CASE("expert_mlp: refuses shapes that do not fit") {
  auto const refused = [](std::vector<std::int64_t> const& gate, std::vector<std::int64_t> const& up,
                          std::vector<std::int64_t> const& down, std::int64_t x_cols, std::int64_t y_cols) {
    stored_expert const e{made<f32_format>::weights(gate[0], gate[1], 1), made<f32_format>::weights(up[0], up[1], 2),
                          made<f32_format>::weights(down[0], down[1], 3)};
    auto const x = random_tokens(2, x_cols, 4);
    auto y = empty_tokens(2, y_cols);
    auto const problem = catch_error([&] { cull::expert_mlp(cpu(), view_of<f32_format>(e), x.view(), y.view()); });
    return problem.thrown && problem.code == cull::errc::shape_mismatch;
  };
  CHECK_FALSE(refused({5, 8}, {5, 8}, {8, 5}, 8, 8));
  CHECK(refused({5, 8}, {5, 8}, {8, 5}, 7, 8));
  CHECK(refused({5, 8}, {5, 8}, {8, 5}, 8, 7));
  CHECK(refused({5, 8}, {4, 8}, {8, 5}, 8, 8));
  CHECK(refused({4, 8}, {5, 8}, {8, 5}, 8, 8));
  CHECK(refused({5, 8}, {5, 7}, {8, 5}, 8, 8));
  CHECK(refused({5, 8}, {5, 8}, {8, 4}, 8, 8));
  CHECK(refused({5, 8}, {5, 8}, {7, 5}, 8, 8));
}

}  // namespace expert_mlp_tests
