// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "expert/matrices.hpp"
#include "support/levels.hpp"
#include "support/safetensors_lite.hpp"

namespace {

using cull::bf16_format;
using cull::f32_format;
using cull::nvfp4_modelopt;
using expert_test::catch_error;
using expert_test::empty_tokens;
using expert_test::made;
using expert_test::random_tokens;
using expert_test::tokens_block;
using test_support::at_every_level;
using test_support::cpu;

template <class Precision = cull::f32_precision, class W>
tokens_block multiplied(tokens_block const& x, W const& w, int threads = 1) {
  auto y = empty_tokens(x.tokens, cull::visit_matrix(w, [](auto const& m) { return m.rows; }));
  cull::matmul<Precision>(cpu(threads), x.view(), w, y.view());
  return y;
}

/// One f32 rounding, and what the sum loses.
bool near_enough(float got, expert_test::product const& exact, std::int64_t cols) {
  return std::abs(got - exact.value) <= 0x1p-24L * std::abs(exact.value) + test_support::sum_error(cols) * exact.magnitude;
}

template <class F>
void check_against_long_double(std::int64_t tokens, std::int64_t rows, std::int64_t cols) {
  auto const seed = static_cast<unsigned>(tokens * 10007 + rows * 101 + cols);
  auto const w = made<F>::weights(rows, cols, seed);
  auto const x = random_tokens(tokens, cols, seed + 1);
  auto const f32 = multiplied(x, made<F>::view(w), 4);
  auto const bf16 = multiplied<cull::bf16_precision>(x, made<F>::view(w), 4);
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t n = 0; n < rows; ++n) {
      REQUIRE(near_enough(f32.at(t, n), naive_dot([&](auto k) { return x.at(t, k); }, w, n), cols));
      auto const rounded = [&](auto k) { return expert_test::nearest_bf16(x.at(t, k)); };
      REQUIRE(near_enough(bf16.at(t, n), naive_dot(rounded, w, n), cols));
    }
  }
}

template <class Precision, class F>
void check_companions(std::int64_t cols, std::vector<std::int64_t> const& batches, std::vector<int> const& threads) {
  auto w = made<F>::weights(129, cols, 71);
  expert_test::flatten_blocks(w);
  auto const view = made<F>::view(w);
  auto const x = expert_test::cancelling_tokens(130, cols, 72);
  auto alone = empty_tokens(130, 129);
  for (std::int64_t t = 0; t < 130; ++t) {
    cull::matmul<Precision>(cpu(1), x.view().rows(t, 1), view, alone.view().rows(t, 1));
  }
  for (auto const m : batches) {
    for (int const count : threads) {
      auto y = empty_tokens(m, 129);
      cull::matmul<Precision>(cpu(count), x.view().rows(130 - m, m), view, y.view());
      for (std::int64_t t = 0; t < m; ++t) {
        REQUIRE(expert_test::same_bits(y.view().row(t), alone.view().row(130 - m + t)));
      }
    }
  }
}

std::vector<std::int64_t> up_to(std::int64_t last) {
  std::vector<std::int64_t> out;
  for (std::int64_t m = 1; m <= last; ++m) out.push_back(m);
  return out;
}

/// 2^20 products and more are spread over threads: 30 tokens of the matrix above.
std::vector<std::int64_t> const around_the_limits{1, 2, 29, 30, 31, 64, 65, 127, 128, 129, 130};

void refused(tokens_block const& x, auto const& w, std::int64_t y_tokens, std::int64_t y_cols, std::string const& text) {
  auto y = empty_tokens(y_tokens, y_cols);
  auto const problem = catch_error([&] { cull::matmul(cpu(), x.view(), w, y.view()); });
  CHECK(problem.code == cull::errc::shape_mismatch);
  CHECK_MESSAGE(problem.text.find(text) != std::string::npos, problem.text);
  CHECK(std::all_of(y.values.begin(), y.values.end(), [](float v) { return v == -77.0f; }));
}

}  // namespace

TEST_CASE("matmul: f32 and bf16 weights of any size against long double, both precisions") {
  at_every_level([&] {
    for (std::int64_t const cols : {1, 2, 7, 8, 9, 15, 16, 17, 33, 100, 271, 272}) {
      for (std::int64_t const rows : {1, 3, 16, 17, 33}) {
        for (std::int64_t const tokens : {1, 2, 5}) {
          check_against_long_double<f32_format>(tokens, rows, cols);
          check_against_long_double<bf16_format>(tokens, rows, cols);
        }
      }
    }
  });
}

TEST_CASE("matmul: NVFP4 weights with K from 16 to 272 against long double, both precisions") {
  at_every_level([&] {
    for (std::int64_t cols = 16; cols <= 272; cols += 16) {
      for (std::int64_t const rows : {1, 17}) {
        for (std::int64_t const tokens : {1, 3, 4}) check_against_long_double<nvfp4_modelopt>(tokens, rows, cols);
      }
    }
  });
}

TEST_CASE("matmul: products large enough for threads against long double") {
  at_every_level([&] {
    check_against_long_double<nvfp4_modelopt>(70, 129, 128);
    check_against_long_double<f32_format>(71, 131, 127);
  });
}

TEST_CASE("matmul: modelopt's bytes against modelopt's dequantised values") {
  at_every_level([&] {
    for (std::string const kind : {"normal", "heavy_tail", "zero_blocks"}) {
      auto const file = test_support::read_safetensors(CULL_TEST_DATA "/nvfp4/" + kind + ".f32.safetensors");
      auto const& codes = file.at("modelopt.weight").bytes;
      auto const& scales = file.at("modelopt.weight_scale").bytes;
      auto const values = file.at("modelopt.dequantized.f32").as<float>();
      expert_test::stored const w{48, 272, {}, {}, {values.begin(), values.end()}};
      cull::matrix<nvfp4_modelopt> const view{
          {codes.data(), scales.data(), file.at("modelopt.weight_scale_2").as<float>().at(0), 272}, 48, 272};
      auto const x = random_tokens(3, 272, 5);
      auto const y = multiplied(x, view);
      for (std::int64_t t = 0; t < 3; ++t) {
        for (std::int64_t n = 0; n < 48; ++n) {
          auto const exact = naive_dot([&](auto k) { return x.at(t, k); }, w, n);
          // The dequantised values have two roundings each, the product none before its last.
          REQUIRE(std::abs(y.at(t, n) - exact.value) <=
                  0x1p-24L * (std::abs(exact.value) + 2.1L * exact.magnitude) + test_support::sum_error(272) * exact.magnitude);
        }
      }
    }
  });
}

TEST_CASE("matmul: a sum that f32 would lose on the way") {
  // 2^24 + 1 has no f32, but its sum with the next product has.
  std::vector<float> const weights{0x1p24f, 1.0f, -0x1p24f, 3.0f, 5.0f};
  tokens_block const x{{1.0f, 1.0f, 1.0f, 0.25f, -0.25f}, 1, 5, 5};
  cull::matrix<f32_format> const w{{weights.data(), 5}, 1, 5};
  CHECK(multiplied(x, w).at(0, 0) == 0.5f);
}

TEST_CASE("matmul: a token's row has the same bits alone and in every batch up to 130") {
  at_every_level([&] {
    check_companions<cull::f32_precision, nvfp4_modelopt>(272, up_to(130), {1});
    check_companions<cull::bf16_precision, nvfp4_modelopt>(272, up_to(130), {1});
  });
}

TEST_CASE("matmul: a token's row has the same bits with 1, 2 and 4 threads, in every format") {
  at_every_level([&] {
    check_companions<cull::f32_precision, nvfp4_modelopt>(272, around_the_limits, {1, 2, 4, 0});
    check_companions<cull::bf16_precision, nvfp4_modelopt>(272, around_the_limits, {2, 4});
    check_companions<cull::f32_precision, bf16_format>(271, around_the_limits, {1, 2, 4});
    check_companions<cull::bf16_precision, bf16_format>(272, around_the_limits, {1, 2, 4});
    check_companions<cull::f32_precision, f32_format>(272, around_the_limits, {1, 2, 4});
    check_companions<cull::bf16_precision, f32_format>(271, around_the_limits, {1, 2, 4});
  });
}

TEST_CASE("matmul: rows apart, at odd addresses; nothing between them is read or written") {
  at_every_level([&] {
    auto const nan = std::numeric_limits<float>::quiet_NaN();
    auto const w = made<bf16_format>::weights(6, 19, 81);
    auto const x = random_tokens(3, 19, 82);
    auto const expected = multiplied(x, made<bf16_format>::view(w));
    tokens_block apart{std::vector<float>(3 * 25, nan), 3, 19, 25};
    for (std::int64_t t = 0; t < 3; ++t) std::copy_n(x.view().row(t).data(), 19, apart.view().row(t).data());
    std::vector<unsigned char> bytes(1 + 6 * 23 * 2, 0xff);  // bf16 NaN between the rows
    for (std::size_t n = 0; n < 6; ++n) std::copy_n(w.bytes.data() + n * 38, 38, bytes.data() + 1 + n * 46);
    tokens_block y{std::vector<float>(3 * 9, -77.0f), 3, 6, 9};
    cull::matrix<bf16_format> const view{{bytes.data() + 1, 23}, 6, 19};
    cull::matmul(cpu(), apart.view(), view, y.view());
    CHECK(expert_test::same_bits(y, expected));
    for (std::int64_t t = 0; t < 3; ++t) {
      for (std::int64_t n = 6; n < 9; ++n) CHECK(y.values[static_cast<std::size_t>(t * 9 + n)] == -77.0f);
    }
  });
}

TEST_CASE("matmul: a matrix of known format and the same in any_matrix give the same bits") {
  at_every_level([&] {
    auto const w = made<nvfp4_modelopt>::weights(20, 48, 91);
    auto const x = random_tokens(4, 48, 92);
    auto const known = multiplied(x, made<nvfp4_modelopt>::view(w));
    CHECK(expert_test::same_bits(multiplied(x, cull::weight_matrix{made<nvfp4_modelopt>::view(w)}), known));
  });
}

TEST_CASE("matmul: no tokens, no work") {
  at_every_level([&] {
    auto const w = made<f32_format>::weights(5, 8, 93);
    CHECK(multiplied(empty_tokens(0, 8), made<f32_format>::view(w), 4).values.empty());
  });
}

TEST_CASE("matmul: refuses shapes that do not fit, and leaves the result alone") {
  auto const w = made<f32_format>::weights(5, 8, 95);
  auto const view = made<f32_format>::view(w);
  refused(random_tokens(2, 7, 1), view, 2, 5, "matmul: x 2 x 7, w 5 x 8, y 2 x 5");
  refused(random_tokens(2, 8, 1), view, 3, 5, "y 3 x 5");
  refused(random_tokens(2, 8, 1), view, 2, 4, "y 2 x 4");
  refused(random_tokens(2, 7, 1), cull::weight_matrix{view}, 2, 5, "x 2 x 7");
  auto const blocks = made<nvfp4_modelopt>::weights(5, 32, 97);
  auto partial = made<nvfp4_modelopt>::view(blocks);
  partial.cols = 24;
  refused(random_tokens(2, 24, 1), partial, 2, 5, "w 5 x 24");
}
