// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "tokens.hpp"

namespace {

using namespace saliency_test;

bool close(double ours, long double wanted) {
  return std::abs(ours - static_cast<double>(wanted)) <= 1e-13 * static_cast<double>(std::abs(wanted));
}

}  // namespace

TEST_CASE("criteria: each by its formula, through its name too; an expert never chosen scores 0") {
  auto const tokens = make_tokens(150, 9, 3, 21);
  cull::observation seen{cull::on_cpu{}, {.layers = {0}, .experts = 9}};
  add(seen, 0, tokens);
  seen.finish();
  for (int e = 0; e < 9; ++e) {
    auto const p = sum_up(tokens, e);
    auto const sums = seen.sums(0, e);
    auto const mean = [&](long double total) { return p.w > 0 ? total / p.w : 0.0L; };
    std::vector<long double> const wanted{mean(p.gf), p.w, p.g, p.f, mean(p.f), p.gf, p.max};
    std::vector<double> const ours{
        cull::reap(sums),     cull::frequency(sums),        cull::weighted_frequency(sums), cull::ean_sum(sums),
        cull::ean_mean(sums), cull::weighted_ean_sum(sums), cull::criteria::max_norm(sums)};
    REQUIRE(cull::criteria::names.size() == wanted.size());
    for (std::size_t c = 0; c < wanted.size(); ++c) {
      CAPTURE(cull::criteria::names[c]);
      CHECK(close(ours[c], wanted[c]));
      CHECK(cull::criterion_by_name(cull::criteria::names[c])(sums) == ours[c]);
      if (e == 8) CHECK(ours[c] == 0);
    }
  }
  CHECK_THROWS_WITH_AS(cull::criterion_by_name("reab"), doctest::Contains("weighted_ean_sum"), cull::error);
}
