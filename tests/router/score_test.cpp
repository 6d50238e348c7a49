// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "router/reference.hpp"

namespace {

using router_test::row_buffer;

long double exact_sigmoid(float x) { return 1.0L / (1.0L + std::exp(-static_cast<long double>(x))); }

std::vector<long double> exact_softmax(std::vector<float> const& x, std::vector<std::uint8_t> const& candidate) {
  long double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (candidate[i]) sum += std::exp(static_cast<long double>(x[i]));
  }
  std::vector<long double> out;
  for (std::size_t i = 0; i < x.size(); ++i) {
    out.push_back(candidate[i] ? std::exp(static_cast<long double>(x[i])) / sum : 0.0L);
  }
  return out;
}

float span_of(std::vector<float> const& x) {
  return *std::max_element(x.begin(), x.end()) - *std::min_element(x.begin(), x.end());
}

}  // namespace

TEST_CASE("sigmoid: within two units of the last place of the exact value, from -80 to 80") {
  std::vector<float> logits;
  for (int i = -8000; i <= 8000; ++i) logits.push_back(static_cast<float>(i) / 100.0f);
  row_buffer row{logits};
  cull::score<cull::sigmoid>()(row.ref());
  long double worst = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    worst = std::max(worst, std::abs(row.scores[i] / exact_sigmoid(logits[i]) - 1));
    REQUIRE(row.choice[i] == row.scores[i]);
  }
  MESSAGE("worst relative error of sigmoid: " << static_cast<double>(worst));
  CHECK(worst <= 0x1p-22L);
}

TEST_CASE("sigmoid: far ends are 0 and 1, the middle is a half") {
  row_buffer row{{0.0f, -0.0f, 1e30f, -1e30f, 200.0f, -200.0f}};
  cull::score<cull::sigmoid>()(row.ref());
  CHECK(row.scores == std::vector<float>{0.5f, 0.5f, 1.0f, 0.0f, 1.0f, 0.0f});
}

TEST_CASE("softmax: against long double, with and without candidates left out") {
  router_test::source from{3};
  long double worst = 0;
  for (int n = 1; n <= 40; ++n) {
    auto const logits = from.values(n, -12.0f, 12.0f);
    for (int drop = 0; drop < 3; ++drop) {
      row_buffer row{logits};
      for (auto& c : row.candidate) c = from.below(3) >= drop;
      row.candidate[static_cast<std::size_t>(from.below(n))] = 1;
      cull::score<cull::softmax>()(row.ref());
      auto const exact = exact_softmax(logits, row.candidate);
      // x - max rounds once in f32, which moves e^(x - max) by up to its size times 2^-24.
      long double const bound = (static_cast<long double>(span_of(logits)) + 3) * 0x1p-24L;
      for (std::size_t i = 0; i < logits.size(); ++i) {
        auto const error = std::abs(row.scores[i] - exact[i]);
        REQUIRE(error <= bound * exact[i]);
        if (exact[i] > 0) worst = std::max(worst, error / exact[i]);
        REQUIRE(row.choice[i] == row.scores[i]);
      }
    }
  }
  MESSAGE("worst relative error of softmax: " << static_cast<double>(worst));
}

TEST_CASE("softmax: closed cases, and logits too far apart for e^x") {
  row_buffer equal{std::vector<float>(8, 300.0f)};
  cull::score<cull::softmax>()(equal.ref());
  CHECK(equal.scores == std::vector<float>(8, 0.125f));
  row_buffer apart{{-3e38f, 3e38f, 0.0f}};
  cull::score<cull::softmax>()(apart.ref());
  CHECK(apart.scores == std::vector<float>{0.0f, 1.0f, 0.0f});
  row_buffer without_the_greatest{{1.0f, 3e38f, 1.0f}};
  without_the_greatest.candidate[1] = 0;
  cull::score<cull::softmax>()(without_the_greatest.ref());
  CHECK(without_the_greatest.scores == std::vector<float>{0.5f, 0.0f, 0.5f});
}

TEST_CASE("softmax: the divisor is summed in f64, ascending by id") {
  // Each 2^-25 is lost beside 1 in an f32 sum; 64 of them make 2^-19.
  std::vector<float> logits{0.0f};
  auto const small = static_cast<float>(-25 * std::log(2.0));
  for (int i = 0; i < 64; ++i) logits.push_back(small);
  row_buffer row{logits};
  cull::score<cull::softmax>()(row.ref());
  double const exact = 1.0 / (1.0 + 64 * std::exp(static_cast<double>(small)));
  CHECK(std::abs(row.scores[0] - exact) < 6e-8);
  CHECK(row.scores[0] < 0.9999985f);
}

TEST_CASE("score: a user's function object, which may replace the scores as it likes") {
  struct square_root_of_softplus {
    void operator()(cull::row_ref row) const {
      for (auto& s : row.scores) s = std::sqrt(std::log1p(std::exp(s)));
    }
  };
  row_buffer row{{0.0f, 1.0f, -2.0f}, 1};
  (cull::score(square_root_of_softplus{}) | cull::choose(1))(row.ref());
  CHECK(row.ids[0] == 1);
  CHECK(row.weights[0] == doctest::Approx(std::sqrt(std::log1p(std::exp(1.0)))).epsilon(1e-6));
}
