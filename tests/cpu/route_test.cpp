// SPDX-License-Identifier: Apache-2.0
// Kernels of the router: who is chosen, against a stable sort; scores, against exp_f32's bits.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include <cull/cpu.hpp>
#include <cull/router.hpp>

#include "support/levels.hpp"

namespace route_tests {

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

struct row_values {
  std::vector<float> scores, choice;
  std::vector<std::uint8_t> candidate;
  std::vector<std::int32_t> ids;
  std::vector<float> weights;

  row_values(std::int64_t experts, int k)
      : scores(static_cast<std::size_t>(experts)),
        choice(scores.size()),
        candidate(scores.size(), 1),
        ids(static_cast<std::size_t>(k)),
        weights(ids.size()) {}
  cull::row_ref ref() { return {scores, choice, candidate, ids, weights}; }

  std::vector<std::int32_t> best() const {
    std::vector<std::int32_t> all;
    for (std::size_t e = 0; e < choice.size(); ++e) {
      if (candidate[e]) all.push_back(static_cast<std::int32_t>(e));
    }
    std::stable_sort(all.begin(), all.end(),
                     [&](auto a, auto b) { return choice[static_cast<std::size_t>(a)] > choice[static_cast<std::size_t>(b)]; });
    all.resize(ids.size());
    std::sort(all.begin(), all.end());
    return all;
  }
};

struct size {
  std::int64_t experts;
  int k;
};
constexpr size sizes[] = {{256, 8}, {128, 8}, {512, 10}, {384, 8},   {64, 6},   {8, 2},  {32, 4},
                          {160, 6}, {72, 6},  {17, 3},   {1000, 12}, {512, 22}, {16, 1}, {40, 12}};

/// Fills a row in the manner of `kind`.
void fill(row_values& row, int kind, std::mt19937& random) {
  std::normal_distribution<float> normal;
  for (std::size_t e = 0; e < row.choice.size(); ++e) {
    float const x = normal(random);
    row.scores[e] = normal(random);
    row.candidate[e] = kind == 3 ? (random() % 4 != 0 || e < 20) : 1;
    switch (kind) {
      case 0:
        row.choice[e] = x;
        break;
      case 1:
        row.choice[e] = std::nearbyint(x * 2) / 2;
        break;  // ties everywhere, zeros of both signs
      case 2:
        row.choice[e] = 0.5f;
        break;
      case 3:
        row.choice[e] = std::nearbyint(x * 16);
        break;
      case 4:
        row.choice[e] = e % 50 == 3 ? infinity : (e % 3 == 0 ? -infinity : x);
        break;
      default:
        row.choice[e] = static_cast<float>(e) * (kind == 5 ? 1.0f : -1.0f);
        break;
    }
  }
}

}  // namespace

TEST_CASE("choose on the executor: a stable sort's choice for the sizes of real models, ties, absent experts, infinities") {
  std::mt19937 random{3};
  test_support::at_every_level([&] {
    for (auto const& each : sizes) {
      auto const experts = each.experts;
      int const k = each.k;
      std::int64_t wrong = 0;
      for (int kind = 0; kind < 7; ++kind) {
        for (int round = 0; round < 40; ++round) {
          row_values row{experts, k};
          fill(row, kind, random);
          cull::detail::stages_on_cpu{test_support::cpu().level(), row.ref()}(cull::choose(k));
          wrong += row.ids == row.best() ? 0 : 1;
          for (std::size_t i = 0; i < row.ids.size(); ++i)
            wrong += row.weights[i] == row.scores[static_cast<std::size_t>(row.ids[i])] ? 0 : 1;
        }
      }
      CAPTURE(experts);
      CHECK(wrong == 0);
    }
  });
}

TEST_CASE("scores on the executor: the bits of exp_f32's sigmoid and softmax, extremes included") {
  std::mt19937 random{4};
  std::normal_distribution<float> normal;
  test_support::at_every_level([&] {
    for (float const width : {1e-9f, 1e-3f, 1.0f, 20.0f, 60.0f, 300.0f}) {
      for (std::int64_t const experts : {3, 8, 64, 250, 256}) {
        row_values sigmoid{experts, 1}, softmax{experts, 1};
        for (auto& x : sigmoid.scores) x = normal(random) * width;
        softmax.scores = sigmoid.scores;
        auto const logits = sigmoid.scores;
        cull::detail::stages_on_cpu{test_support::cpu().level(), sigmoid.ref()}(cull::score<cull::sigmoid>());
        cull::detail::stages_on_cpu{test_support::cpu().level(), softmax.ref()}(cull::score<cull::softmax>());
        float const top = *std::max_element(logits.begin(), logits.end());
        double sum = 0;
        for (float const x : logits) sum += static_cast<double>(cull::exp_f32(x - top));
        std::int64_t wrong = 0;
        for (std::size_t e = 0; e < logits.size(); ++e) {
          wrong += sigmoid.scores[e] == 1.0f / (1.0f + cull::exp_f32(-logits[e])) ? 0 : 1;
          wrong += softmax.scores[e] == cull::exp_f32(logits[e] - top) / static_cast<float>(sum) ? 0 : 1;
          wrong += sigmoid.choice[e] == sigmoid.scores[e] && softmax.choice[e] == softmax.scores[e] ? 0 : 1;
        }
        CHECK(wrong == 0);
      }
    }
  });
}

TEST_CASE("model router on the executor: every setting routes as its stages do, one after the other") {
  std::mt19937 random{5};
  std::normal_distribution<float> normal;
  std::vector<float> bias(256), logits(6 * 256);
  for (auto& x : bias) x = normal(random) * 0.1f;
  for (auto& x : logits) x = std::nearbyint(normal(random) * 32) / 32;
  test_support::at_every_level([&] {
    for (auto const scoring :
         {cull::scoring::softmax, cull::scoring::sigmoid, cull::scoring::softmax_of_chosen, cull::scoring::sigmoid_of_chosen}) {
      for (int const groups : {1, 8}) {
        for (bool const with_bias : {false, true}) {
          cull::router_settings settings{.scoring = scoring, .top_k = 8, .groups = groups, .top_groups = groups == 1 ? 1 : 4};
          settings.renormalize = cull::renormalization::on;
          settings.scaling = 2.5f;
          cull::model_router const router{settings,
                                          with_bias ? cull::array_view<float const>{bias} : cull::array_view<float const>{}};
          cull::routing_buffer out;
          cull::route(test_support::cpu(2), router, cull::matrix_view<float const>{logits.data(), 6, 256}, out);
          for (std::int64_t t = 0; t < 6; ++t) {
            row_values row{256, 8};
            std::copy(logits.begin() + t * 256, logits.begin() + (t + 1) * 256, row.scores.begin());
            router(row.ref());
            CHECK(std::equal(row.ids.begin(), row.ids.end(), out.view().ids.row(t).begin()));
            CHECK(std::equal(row.weights.begin(), row.weights.end(), out.view().weights.row(t).begin()));
          }
        }
      }
    }
  });
}

}  // namespace route_tests
