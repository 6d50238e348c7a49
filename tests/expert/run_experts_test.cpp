// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "expert/matrices.hpp"
#include "support/levels.hpp"

namespace {

using cull::nvfp4_modelopt;
using expert_test::catch_error;
using expert_test::empty_tokens;
using expert_test::made;
using expert_test::random_tokens;
using expert_test::tokens_block;
using test_support::at_every_level;
using test_support::cpu;

constexpr std::int64_t hidden = 32;
constexpr std::int64_t width = 16;
constexpr std::int64_t k = 3;

/// Experts and the bytes behind them.
struct experts_and_bytes {
  std::vector<expert_test::stored> bytes;
  std::vector<cull::gated_expert<cull::matrix<nvfp4_modelopt>>> views;

  explicit experts_and_bytes(int count) {
    for (int e = 0; e < count; ++e) {
      auto const seed = static_cast<unsigned>(100 * e);
      bytes.push_back(made<nvfp4_modelopt>::weights(width, hidden, seed + 1));
      bytes.push_back(made<nvfp4_modelopt>::weights(width, hidden, seed + 2));
      bytes.push_back(made<nvfp4_modelopt>::weights(hidden, width, seed + 3));
    }
    for (std::size_t i = 0; i < bytes.size(); i += 3) {
      auto const view = [&](std::size_t at) { return made<nvfp4_modelopt>::view(bytes[at]); };
      views.push_back({view(i), view(i + 1), view(i + 2)});
    }
  }
  std::span<cull::gated_expert<cull::matrix<nvfp4_modelopt>> const> all() const { return views; }
};

/// k different ids for each token out of `experts`, ascending.
struct random_routing {
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
  std::int64_t tokens;

  random_routing(std::int64_t count, int experts, unsigned seed) : tokens(count) {
    expert_test::source from{seed};
    for (std::int64_t t = 0; t < count; ++t) {
      auto const first = static_cast<std::int32_t>(from.bits() % static_cast<unsigned>(experts - 2));
      auto const last = static_cast<std::int32_t>(experts - 1);
      ids.insert(ids.end(), {first, first + 1, last});
      for (std::int64_t i = 0; i < k; ++i) weights.push_back(from.uniform(0.0f, 1.0f));
    }
  }
  cull::routing<> view() const { return {{ids.data(), tokens, k}, {weights.data(), tokens, k}}; }
};

template <class Precision>
void check_each_alone(int threads) {
  experts_and_bytes const experts{7};
  random_routing const chosen{50, 7, 5};
  auto const x = random_tokens(50, hidden, 6);
  auto outputs = empty_tokens(50 * k, hidden);
  cull::run_experts<Precision>(cpu(threads), experts.all(), x.view(), chosen.view(), outputs.view());
  for (std::int64_t row = 0; row < 50 * k; ++row) {
    auto alone = empty_tokens(1, hidden);
    auto const expert = static_cast<std::size_t>(chosen.ids[static_cast<std::size_t>(row)]);
    cull::expert_mlp<Precision>(cpu(), experts.views[expert], x.view().rows(row / k, 1), alone.view());
    REQUIRE(expert_test::same_bits(outputs.view().row(row), alone.view().row(0)));
  }
}

}  // namespace

TEST_CASE("run_experts: every chosen pair has the bits of that expert on that token alone, with 1, 2 and 4 threads") {
  at_every_level([&] {
    for (int const threads : {1, 2, 4}) {
      check_each_alone<cull::f32_precision>(threads);
      check_each_alone<cull::bf16_precision>(threads);
    }
  });
}

TEST_CASE("run_experts: an expert that no token chose is not touched") {
  at_every_level([&] {
    experts_and_bytes experts{5};
    experts.views[3] = {};
    std::vector<std::int32_t> const ids{0, 2, 4, 1, 2, 4};
    std::vector<float> const weights(6, 1.0f);
    auto const x = random_tokens(2, hidden, 7);
    auto outputs = empty_tokens(2 * k, hidden);
    cull::routing<> const chosen{{ids.data(), 2, k}, {weights.data(), 2, k}};
    CHECK_NOTHROW(cull::run_experts(cpu(), experts.all(), x.view(), chosen, outputs.view()));
    CHECK(std::none_of(outputs.values.begin(), outputs.values.end(), [](float v) { return v == -77.0f; }));
  });
}

TEST_CASE("run_experts: refuses shapes and ids that do not fit") {
  experts_and_bytes const experts{4};
  auto const refused = [&](std::int64_t x_tokens, std::int64_t x_cols, std::int64_t out_rows, std::int64_t out_cols,
                           std::int32_t id) {
    std::vector<std::int32_t> const ids{0, 1, 2, 0, 1, id};
    std::vector<float> const weights(6, 1.0f);
    auto const x = random_tokens(x_tokens, x_cols, 8);
    auto outputs = empty_tokens(out_rows, out_cols);
    cull::routing<> const chosen{{ids.data(), 2, k}, {weights.data(), 2, k}};
    return catch_error([&] { cull::run_experts(cpu(2), experts.all(), x.view(), chosen, outputs.view()); });
  };
  CHECK_FALSE(refused(2, hidden, 6, hidden, 3).thrown);
  CHECK(refused(3, hidden, 6, hidden, 3).code == cull::errc::shape_mismatch);
  CHECK(refused(2, hidden, 5, hidden, 3).code == cull::errc::shape_mismatch);
  CHECK(refused(2, hidden, 6, 16, 3).code == cull::errc::shape_mismatch);
  CHECK(refused(2, 16, 6, 16, 3).code == cull::errc::shape_mismatch);
  CHECK(refused(2, hidden, 6, hidden, 4).code == cull::errc::out_of_range);
  CHECK(refused(2, hidden, 6, hidden, 4).text == "routing: token 1 goes to expert 4 of 4");
}

TEST_CASE("combine: weighted sums and norms against long double, the same bits with every number of threads") {
  random_routing const chosen{100, 9, 9};
  auto const outputs = random_tokens(100 * k, hidden, 10);
  for (int const threads : {1, 2, 4}) {
    auto y = empty_tokens(100, hidden);
    std::vector<double> norms(100 * k);
    cull::combine(cpu(threads), chosen.view(), outputs.view(), y.view(), {norms.data(), 100, k});
    for (std::int64_t t = 0; t < 100; ++t) {
      for (std::int64_t h = 0; h < hidden; ++h) {
        long double sum = 0, magnitude = 0;
        for (std::int64_t i = 0; i < k; ++i) {
          auto const weight = static_cast<long double>(chosen.weights[static_cast<std::size_t>(t * k + i)]);
          sum += weight * outputs.at(t * k + i, h);
          magnitude += weight * std::abs(outputs.at(t * k + i, h));
        }
        REQUIRE(std::abs(y.at(t, h) - sum) <= 0x1p-24L * std::abs(sum) + 1e-15L * magnitude);
      }
    }
    for (std::int64_t row = 0; row < 100 * k; ++row) {
      long double squares = 0;
      for (std::int64_t h = 0; h < hidden; ++h) {
        squares += static_cast<long double>(outputs.at(row, h)) * outputs.at(row, h);
      }
      REQUIRE(std::abs(norms[static_cast<std::size_t>(row)] / std::sqrt(squares) - 1) < 1e-14L);
    }
  }
}

TEST_CASE("combine: norms do not overflow where squares of f32 would") {
  std::int32_t const id = 0;
  float const weight = 0.5f;
  std::vector<float> const f{3e38f, 0.0f, 3e38f, 0.0f};
  std::vector<float> y(4);
  double norm = 0;
  cull::combine(cpu(), cull::routing<>{{&id, 1, 1}, {&weight, 1, 1}}, {f.data(), 1, 4}, {y.data(), 1, 4}, {&norm, 1, 1});
  CHECK(norm == doctest::Approx(3e38 * std::sqrt(2.0)).epsilon(1e-6));
  CHECK(y == std::vector<float>{1.5e38f, 0.0f, 1.5e38f, 0.0f});
}

TEST_CASE("combine: refuses shapes that do not fit") {
  random_routing const chosen{4, 5, 11};
  auto const refused = [&](std::int64_t out_rows, std::int64_t y_rows, std::int64_t y_cols, std::int64_t n_rows,
                           std::int64_t n_cols) {
    auto const outputs = empty_tokens(out_rows, hidden);
    auto y = empty_tokens(y_rows, y_cols);
    std::vector<double> norms(static_cast<std::size_t>(n_rows * n_cols));
    auto const problem = catch_error([&] {
      cull::combine(cpu(), chosen.view(), outputs.view(), y.view(), {norms.data(), n_rows, n_cols});
    });
    return problem.thrown && problem.code == cull::errc::shape_mismatch;
  };
  CHECK_FALSE(refused(12, 4, hidden, 4, k));
  CHECK(refused(11, 4, hidden, 4, k));
  CHECK(refused(12, 5, hidden, 4, k));
  CHECK(refused(12, 4, hidden - 1, 4, k));
  CHECK(refused(12, 4, hidden, 3, k));
  CHECK(refused(12, 4, hidden, 4, k - 1));
}

namespace {

/// Norms without outputs are those that combine takes of the outputs.
template <class Precision>
void check_norms(int threads, std::int64_t tokens, cull::expert_use use) {
  experts_and_bytes const experts{7};
  random_routing const chosen{tokens, 7 + use.zero_experts, 8};
  auto const x = random_tokens(tokens, hidden, 9);
  auto outputs = empty_tokens(tokens * k, hidden);
  auto y = empty_tokens(tokens, hidden);
  std::vector<double> wanted(static_cast<std::size_t>(tokens * k)), norms(wanted.size());
  cull::run_experts<Precision>(cpu(threads), experts.all(), x.view(), chosen.view(), outputs.view(), cull::silu{}, use);
  cull::combine(cpu(), chosen.view(), cull::matrix_view<float const>{outputs.view()}, y.view(),
                cull::matrix_view<double>{wanted.data(), tokens, k});
  cull::expert_norms<Precision>(cpu(threads), experts.all(), x.view(), chosen.view(),
                                cull::matrix_view<double>{norms.data(), tokens, k}, cull::silu{}, use);
  CHECK(norms == wanted);
  CHECK(*std::min_element(norms.begin(), norms.end()) > 0.0);
}

}  // namespace

TEST_CASE(
    "expert_norms: the norms of the outputs, to the bit, for few and many experts a thread, weighted inputs, zero-compute "
    "experts") {
  at_every_level([] {
    for (int const threads : {1, 2, 5}) {
      for (std::int64_t const tokens : {1, 3, 60}) {
        check_norms<cull::f32_precision>(threads, tokens, {});
        check_norms<cull::bf16_precision>(threads, tokens, {});
        check_norms<cull::f32_precision>(threads, tokens, {.gate_on_input = true, .zero_experts = 2});
      }
    }
  });
}
