// SPDX-License-Identifier: Apache-2.0
// Experts with biases, without a gate, with every activation; gates on the input; experts without weights.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "expert/matrices.hpp"
#include "support/levels.hpp"

namespace {

using cull::bf16_format;
using cull::f32_format;
using expert_test::catch_error;
using expert_test::empty_tokens;
using expert_test::made;
using expert_test::random_tokens;
using expert_test::same_bits;
using expert_test::stored;
using expert_test::tokens_block;
using test_support::at_every_level;
using test_support::cpu;
using kind = cull::activation_settings::kind;

struct shape {
  bool gated;
  bool biased;
  kind activation;
};

std::vector<shape> every_shape() {
  std::vector<shape> out;
  for (bool const gated : {true, false}) {
    for (bool const biased : {true, false}) {
      for (auto const what : {kind::silu, kind::gelu, kind::gelu_tanh, kind::relu2, kind::clamped_swiglu, kind::limited_silu}) {
        out.push_back({gated, biased, what});
      }
    }
  }
  return out;
}

std::string describe(shape const& s) {
  return std::string{s.gated ? "gated" : "ungated"} + (s.biased ? ", biased, " : ", ") +
         std::to_string(static_cast<int>(s.activation));
}

/// An expert and what it points at.
template <class F>
struct owned_expert {
  stored gate, up, down;
  std::vector<float> gate_bias, up_bias, down_bias;
  shape of;

  owned_expert(shape const& s, std::int64_t hidden, std::int64_t width, unsigned seed)
      : gate(made<F>::weights(width, hidden, seed)),
        up(made<F>::weights(width, hidden, seed + 1)),
        down(made<F>::weights(hidden, width, seed + 2)),
        of(s) {
    if (!s.biased) return;
    expert_test::source from{seed + 3};
    if (s.gated) gate_bias = from.values(width, -1.0f, 1.0f);
    up_bias = from.values(width, -1.0f, 1.0f);
    down_bias = from.values(hidden, -1.0f, 1.0f);
  }
  cull::gated_expert<cull::matrix<F>> view() const {
    return {of.gated ? made<F>::view(gate) : cull::matrix<F>{},
            made<F>::view(up),
            made<F>::view(down),
            gate_bias,
            up_bias,
            down_bias};
  }
  /// alpha and limit are such that clamps happen.
  cull::activation_settings activation() const { return {.what = of.activation, .alpha = 1.702f, .limit = 1.5f}; }
};

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

double one_argument(kind what, double x) {
  if (what == kind::silu) return x * sigmoid(x);
  if (what == kind::gelu) return x / 2 * std::erfc(-x / std::sqrt(2.0));
  if (what == kind::gelu_tanh) return x / 2 * (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) * (x + 0.044715 * x * x * x)));
  if (what == kind::relu2) return x > 0 ? x * x : 0;
  if (what == kind::clamped_swiglu) return std::min(x, 1.5) * sigmoid(std::min(x, 1.5) * 1.702);
  return std::min(x * sigmoid(x), 1.5);
}

double two_arguments(kind what, double gate, double up) {
  if (what == kind::clamped_swiglu) return (std::clamp(up, -1.5, 1.5) + 1) * one_argument(what, gate);
  if (what == kind::limited_silu) return one_argument(what, gate) * std::clamp(up, -1.5, 1.5);
  return one_argument(what, gate) * up;
}

std::vector<double> linear(stored const& w, std::vector<float> const& bias, std::vector<double> const& x) {
  std::vector<double> out;
  for (std::int64_t n = 0; n < w.rows; ++n) {
    double sum = bias.empty() ? 0.0 : static_cast<double>(bias[static_cast<std::size_t>(n)]);
    for (std::int64_t i = 0; i < w.cols; ++i) {
      sum += static_cast<double>(w.at(n, i) * static_cast<long double>(w.outer)) * x[static_cast<std::size_t>(i)];
    }
    out.push_back(sum);
  }
  return out;
}

template <class F>
std::vector<double> in_double(owned_expert<F> const& e, std::vector<double> const& x) {
  auto inner = linear(e.up, e.up_bias, x);
  auto const gate = linear(e.gate, e.gate_bias, x);
  for (std::size_t i = 0; i < inner.size(); ++i) {
    inner[i] = e.of.gated ? two_arguments(e.of.activation, gate[i], inner[i]) : one_argument(e.of.activation, inner[i]);
  }
  return linear(e.down, e.down_bias, inner);
}

std::vector<double> row_of(tokens_block const& x, std::int64_t t, float factor = 1.0f) {
  std::vector<double> out;
  for (std::int64_t i = 0; i < x.cols; ++i) out.push_back(static_cast<double>(factor * x.at(t, i)));
  return out;
}

double size_of(std::vector<double> const& v) {
  double squares = 0;
  for (double const x : v) squares += x * x;
  return std::sqrt(squares);
}

template <class F>
void check_formula(shape const& s) {
  CAPTURE(describe(s));
  owned_expert<F> const e{s, 24, 17, 81};
  auto const x = random_tokens(6, 24, 82);
  auto y = empty_tokens(6, 24);
  cull::expert_mlp(cpu(2), e.view(), x.view(), y.view(), cull::model_activation{e.activation()});
  for (std::int64_t t = 0; t < 6; ++t) {
    auto const right = in_double(e, row_of(x, t));
    for (std::int64_t h = 0; h < 24; ++h) {
      REQUIRE(std::abs(static_cast<double>(y.at(t, h)) - right[static_cast<std::size_t>(h)]) <= 2e-6 * size_of(right));
    }
  }
}

template <class Precision>
void check_companions(shape const& s) {
  CAPTURE(describe(s));
  constexpr std::int64_t hidden = 40, width = 24;
  owned_expert<bf16_format> e{s, hidden, width, 91};
  expert_test::flatten_blocks(e.gate);
  expert_test::flatten_blocks(e.up);
  cull::model_activation const act{e.activation()};
  auto const x = expert_test::cancelling_tokens(130, hidden, 92);
  auto alone = empty_tokens(130, hidden);
  for (std::int64_t t = 0; t < 130; ++t) {
    cull::expert_mlp<Precision>(cpu(), e.view(), x.view().rows(t, 1), alone.view().rows(t, 1), act);
  }
  for (std::int64_t m = 1; m <= 130; ++m) {
    auto y = empty_tokens(m, hidden);
    cull::expert_mlp<Precision>(cpu(static_cast<int>(m % 3) + 1), e.view(), x.view().rows(130 - m, m), y.view(), act);
    for (std::int64_t t = 0; t < m; ++t) REQUIRE(same_bits(y.view().row(t), alone.view().row(130 - m + t)));
  }
}

/// Experts 0..3 with weights; ids beyond are zero-compute experts.
struct layer_of_four {
  std::vector<owned_expert<f32_format>> owned;
  std::vector<cull::gated_expert<cull::matrix<f32_format>>> views;

  layer_of_four() {
    for (unsigned e = 0; e < 4; ++e) owned.emplace_back(shape{true, false, kind::silu}, 16, 12, 100 + 10 * e);
    for (auto const& e : owned) views.push_back(e.view());
  }
  std::span<cull::gated_expert<cull::matrix<f32_format>> const> all() const { return views; }
};

}  // namespace

TEST_CASE("expert_mlp: with and without gate and biases, with every activation, against the formula in f64") {
  at_every_level([&] {
    for (auto const& s : every_shape()) {
      check_formula<f32_format>(s);
      check_formula<bf16_format>(s);
    }
  });
}

TEST_CASE("expert_mlp: every kind of expert gives a token the same bits alone and among 1 to 130") {
  at_every_level([&] {
    for (auto const& s : every_shape()) check_companions<cull::f32_precision>(s);
    check_companions<cull::bf16_precision>({true, true, kind::clamped_swiglu});
    check_companions<cull::bf16_precision>({false, true, kind::relu2});
  });
}

TEST_CASE("expert_mlp: a bias is added in f32 to the rounded product") {
  at_every_level([&] {
    std::vector<float> const one{1.0f};
    std::vector<float> const bias{0x1p-24f};
    cull::matrix<f32_format> const w{{one.data(), 1}, 1, 1};
    cull::gated_expert<cull::matrix<f32_format>> const e{{}, w, w, {}, {}, bias};
    std::vector<float> const x{1.0f + 0x1p-23f};
    std::vector<float> y(1);
    auto const same = [](float value) { return value; };
    cull::expert_mlp(cpu(), e, cull::matrix_view<float const>{x.data(), 1, 1}, cull::matrix_view<float>{y.data(), 1, 1}, same);
    CHECK(y[0] == 1.0f + 0x1p-22f);  // a tie, to even
  });
}

TEST_CASE("expert_mlp: refuses biases that do not fit, and activations that take another number of arguments") {
  owned_expert<f32_format> const e{{true, true, kind::silu}, 8, 5, 1};
  std::vector<float> const four(4);
  auto const x = random_tokens(2, 8, 2);
  auto y = empty_tokens(2, 8);
  auto const refused = [&](auto change) {
    auto view = e.view();
    change(view);
    return catch_error([&] { cull::expert_mlp(cpu(), view, x.view(), y.view()); });
  };
  CHECK_FALSE(refused([](auto&) {}).thrown);
  CHECK(refused([&](auto& v) { v.gate_bias = four; }).code == cull::errc::shape_mismatch);
  CHECK(refused([&](auto& v) { v.up_bias = four; }).text == "expert_mlp: a bias has 4 values for a product of 5");
  CHECK(refused([&](auto& v) { v.down_bias = four; }).code == cull::errc::shape_mismatch);
  CHECK(refused([](auto& v) { v.gate = {}; }).code == cull::errc::shape_mismatch);  // its bias is left
  auto view = e.view();
  view.gate = {};
  view.gate_bias = {};
  auto const product = [](float gate, float up) { return gate * up; };
  auto const square = [](float value) { return value * value; };
  auto const with = [&](auto const& expert, auto const& activation) {
    return catch_error([&] { cull::expert_mlp(cpu(), expert, x.view(), y.view(), activation); }).code;
  };
  CHECK(with(view, product) == cull::errc::out_of_range);
  CHECK(with(e.view(), square) == cull::errc::out_of_range);
  CHECK_FALSE(catch_error([&] { cull::expert_mlp(cpu(), view, x.view(), y.view(), square); }).thrown);
}

TEST_CASE("run_experts: gates on the input are those of f(w x) for w x rounded to f32, and not f(x)") {
  at_every_level([&] {
    layer_of_four const experts;
    std::vector<std::int32_t> const ids{0, 3, 1, 2, 0, 1};
    std::vector<float> const weights{0.1f, 0.7f, 0.3f, 1.0f, 0.0f, 0.9f};
    auto const x = random_tokens(3, 16, 3);
    auto outputs = empty_tokens(6, 16);
    cull::routing<> const chosen{{ids.data(), 3, 2}, {weights.data(), 3, 2}};
    cull::run_experts(cpu(2), experts.all(), x.view(), chosen, outputs.view(), cull::silu{}, {.gate_on_input = true});
    for (std::int64_t row = 0; row < 6; ++row) {
      auto const at = static_cast<std::size_t>(row);
      auto scaled = random_tokens(1, 16, 3);
      for (std::int64_t h = 0; h < 16; ++h) scaled.values[static_cast<std::size_t>(h)] = weights[at] * x.at(row / 2, h);
      auto alone = empty_tokens(1, 16);
      cull::expert_mlp(cpu(), experts.views[static_cast<std::size_t>(ids[at])], scaled.view(), alone.view());
      CHECK(same_bits(outputs.view().row(row), alone.view().row(0)));
      auto const right = in_double(experts.owned[static_cast<std::size_t>(ids[at])], row_of(x, row / 2, weights[at]));
      for (std::int64_t h = 0; h < 16; ++h) {
        CHECK(std::abs(static_cast<double>(outputs.at(row, h)) - right[static_cast<std::size_t>(h)]) <= 2e-6 * size_of(right));
      }
    }
  });
}

TEST_CASE("run_experts: zero-compute experts give their input, and no id beyond them is one") {
  at_every_level([&] {
    layer_of_four const experts;
    auto const x = random_tokens(2, 16, 5);
    std::vector<float> const weights{0.5f, 0.25f, 0.5f, 2.0f};
    auto const run = [&](std::vector<std::int32_t> const& ids, bool gate_on_input, int zero_experts) {
      auto outputs = empty_tokens(4, 16);
      cull::routing<> const chosen{{ids.data(), 2, 2}, {weights.data(), 2, 2}};
      cull::run_experts(cpu(2), experts.all(), x.view(), chosen, outputs.view(), cull::silu{}, {gate_on_input, zero_experts});
      return outputs;
    };
    auto const plain = run({1, 4, 5, 6}, false, 3);
    CHECK(same_bits(plain.view().row(1), x.view().row(0)));
    CHECK(same_bits(plain.view().row(2), x.view().row(1)));
    CHECK(same_bits(plain.view().row(3), x.view().row(1)));
    auto alone = empty_tokens(1, 16);
    cull::expert_mlp(cpu(), experts.views[1], x.view().rows(0, 1), alone.view());
    CHECK(same_bits(plain.view().row(0), alone.view().row(0)));
    auto const weighted = run({1, 4, 5, 6}, true, 3);
    for (std::int64_t h = 0; h < 16; ++h) {
      CHECK(weighted.at(1, h) == 0.25f * x.at(0, h));
      CHECK(weighted.at(3, h) == 2.0f * x.at(1, h));
    }
    auto const refused = [&](int zero_experts) { return catch_error([&] { run({1, 4, 5, 6}, false, zero_experts); }); };
    CHECK(refused(2).text == "routing: token 1 goes to expert 6 of 6");
    CHECK(refused(0).text == "routing: token 0 goes to expert 4 of 4");
  });
}
