// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <vector>

#include <cull/selection.hpp>

#include "support/failures.hpp"

namespace {

using test_support::code_of;

/// Rank by counting who comes before: shares nothing with a sort.
std::vector<int> best_by_counting(std::vector<double> const& scores, int k) {
  std::vector<int> out;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    int before = 0;
    for (std::size_t j = 0; j < scores.size(); ++j) before += scores[j] > scores[i] || (scores[j] == scores[i] && j < i) ? 1 : 0;
    if (before < k) out.push_back(static_cast<int>(i));
  }
  return out;
}

/// An observation whose frequency of expert e is scores[e].
cull::default_observation with_frequency(std::vector<int> const& scores) {
  cull::observation seen{cull::on_cpu{}, {.layers = {2}, .experts = static_cast<int>(scores.size())}};
  for (int e = 0; e < static_cast<int>(scores.size()); ++e) {
    std::int32_t const id = e;
    float const gate = 1;
    double const norm = 1;
    for (int n = 0; n < scores[static_cast<std::size_t>(e)]; ++n) {
      cull::add(cull::on_cpu{}, seen.at(2), cull::routing<>{{&id, 1, 1}, {&gate, 1, 1}},
                {.norms = cull::matrix_view<double const>{&norm, 1, 1}});
    }
  }
  return seen;
}

}  // namespace

TEST_CASE("top_k: every vector of up to six scores out of four values, every k") {
  double const values[] = {-1.0, 0.0, -0.0, std::numeric_limits<double>::infinity()};
  for (int n = 0; n <= 6; ++n) {
    int const all = 1 << (2 * n);
    for (int code = 0; code < all; ++code) {
      std::vector<double> scores;
      for (int i = 0; i < n; ++i) scores.push_back(values[(code >> (2 * i)) & 3]);
      for (int k = 0; k <= n; ++k) REQUIRE(cull::top_k(scores, k) == best_by_counting(scores, k));
    }
  }
}

TEST_CASE("top_k: refusals") {
  std::vector<double> scores{1, 2};
  CHECK(code_of([&] { cull::top_k(scores, 3); }) == cull::errc::out_of_range);
  CHECK(code_of([&] { cull::top_k(scores, -1); }) == cull::errc::out_of_range);
  scores[0] = std::nan("");
  CHECK(code_of([&] { cull::top_k(scores, 1); }) == cull::errc::not_finite);
}

TEST_CASE("select: kept, margin and who was never chosen") {
  auto const chosen = cull::select(with_frequency({4, 0, 10, 8, 1, 0}), cull::frequency, cull::keep{3});
  REQUIRE(chosen.layers.size() == 1);
  auto const& layer = chosen.layers[0];
  CHECK(layer.layer == 2);
  CHECK(layer.experts == 6);
  CHECK(layer.kept == std::vector<int>{0, 2, 3});
  CHECK(layer.scores == std::vector<double>{4, 0, 10, 8, 1, 0});
  CHECK(layer.cut_high == 4);
  CHECK(layer.cut_low == 1);
  CHECK(layer.margin == 0.75);
  CHECK(layer.tied.empty());
  CHECK(layer.never_chosen == std::vector<int>{1, 5});
}

TEST_CASE("cut_of: a keep-set from elsewhere, in the scores of here") {
  std::vector<double> const scores{4, 0, 10, 8, 1, 6};
  auto const own = cull::select_layer(scores, cull::keep{3});
  auto const same = cull::cut_of(scores, own.kept);
  CHECK(same.margin == own.margin);
  CHECK(same.cut_high == 6);
  CHECK(same.cut_low == 4);
  auto const other = cull::cut_of(scores, {0, 2, 4});
  CHECK(other.cut_high == 1);
  CHECK(other.cut_low == 8);
  CHECK(other.margin == -7);
  // Without the one that was kept for another reason.
  CHECK(cull::cut_of(scores, {2, 3, 4}, 1, {4}).margin == (8.0 - 6) / 8);
  // Two groups: 4 and 10 over 0, 8 and 6 over 1.
  CHECK(cull::cut_of(scores, {0, 2, 3, 5}, 2).margin == (6.0 - 1) / 6);
  CHECK(std::isinf(cull::cut_of(scores, {0, 1, 2, 3, 4, 5}).margin));
  CHECK(std::isinf(cull::cut_of(scores, {}).margin));
  CHECK(code_of([&] { cull::cut_of(scores, {0, 6}); }) == cull::errc::out_of_range);
  CHECK(code_of([&] { cull::cut_of(scores, {0}, 4); }) == cull::errc::out_of_range);
}

TEST_CASE("select: exact ties at the cut go to the lower id and are listed; ties elsewhere are not") {
  auto const at = cull::select_layer(std::vector<double>{3, 5, 3, 3, 1, 1}, cull::keep{3});
  CHECK(at.kept == std::vector<int>{0, 1, 2});
  CHECK(at.margin == 0);
  CHECK(at.tied == std::vector<int>{0, 2, 3});
  CHECK(cull::select_layer(std::vector<double>{3, 3, 1, 1}, cull::keep{2}).tied.empty());
  auto const zeros = cull::select_layer(std::vector<double>{0, 0, 1}, cull::keep{2});
  CHECK(zeros.kept == std::vector<int>{0, 2});
  CHECK(zeros.margin == 0);
  CHECK(zeros.tied == std::vector<int>{0, 1});
}

TEST_CASE("select: equal numbers per group; the margin is that of the closest group") {
  auto const grouped = cull::select_layer(std::vector<double>{9, 8, 7, 6, 1, 2, 3, 4}, cull::keep{.count = 4, .groups = 2});
  CHECK(grouped.kept == std::vector<int>{0, 1, 6, 7});
  CHECK(grouped.margin == doctest::Approx(1.0 / 8));
  CHECK(grouped.cut_high == 8);
  CHECK(grouped.cut_low == 7);
  CHECK(cull::select_layer(std::vector<double>{9, 8, 7, 6, 1, 2, 3, 4}, cull::keep{4}).kept == std::vector<int>{0, 1, 2, 3});
}

TEST_CASE("select: keeping all drops nothing and has no cut") {
  auto const all = cull::select_layer(std::vector<double>{1, 1, 0}, cull::keep{3});
  CHECK(all.kept == std::vector<int>{0, 1, 2});
  CHECK(std::isinf(all.margin));
  CHECK(all.tied.empty());
}

TEST_CASE("select: counts that cannot be, scores that are none, states that are unsound") {
  std::vector<double> const four{1, 2, 3, 4};
  for (auto const& wrong : {cull::keep{0}, cull::keep{5}, cull::keep{-1}, cull::keep{3, 2}, cull::keep{3, 3}, cull::keep{2, 0}}) {
    CHECK(code_of([&] { cull::select_layer(four, wrong); }) == cull::errc::out_of_range);
  }
  auto seen = with_frequency({1, 2});
  CHECK(code_of([&] {
          cull::select(
              seen, [](auto const&) { return std::nan(""); }, cull::keep{1});
        }) == cull::errc::not_finite);
  std::int32_t const id = 0;
  float const gate = 1;
  double const norm = std::nan("");
  cull::add(cull::on_cpu{}, seen.at(2), cull::routing<>{{&id, 1, 1}, {&gate, 1, 1}},
            {.norms = cull::matrix_view<double const>{&norm, 1, 1}});
  CHECK(code_of([&] { cull::select(seen, cull::reap, cull::keep{1}); }) == cull::errc::rejected_values);
}

TEST_CASE("compare: both, only one, Jaccard") {
  auto const result = cull::compare(std::vector<int>{0, 1, 2, 3}, std::vector<int>{2, 3, 4});
  CHECK(result.both == std::vector<int>{2, 3});
  CHECK(result.only_first == std::vector<int>{0, 1});
  CHECK(result.only_second == std::vector<int>{4});
  CHECK(result.jaccard == doctest::Approx(0.4));
  CHECK(cull::compare(std::vector<int>{}, std::vector<int>{}).jaccard == 1);
  auto const a = cull::select(with_frequency({4, 0, 10, 8}), cull::frequency, cull::keep{2});
  auto const b = cull::select(with_frequency({9, 0, 10, 8}), cull::frequency, cull::keep{2});
  auto const layers = cull::compare(a, b);
  REQUIRE(layers.size() == 1);
  CHECK(layers[0].layer == 2);
  CHECK(layers[0].jaccard == doctest::Approx(1.0 / 3));
  CHECK(code_of([&] { cull::compare(a, cull::selection{}); }) == cull::errc::mismatched_states);
}
