// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include <cull/selection.hpp>

namespace {

/// values[e][s]: what g * ||f|| is for the one token of sequence s that goes to expert e; NaN: none does.
cull::default_observation with_values(std::vector<std::vector<double>> const& values, std::vector<std::string> domains = {}) {
  bool const told = !domains.empty();
  cull::default_observation seen{
      cull::observation_layout{.layers = {2}, .experts = static_cast<int>(values.size()), .domains = std::move(domains)}};
  for (std::int32_t e = 0; e < static_cast<std::int32_t>(values.size()); ++e) {
    auto const& row = values[static_cast<std::size_t>(e)];
    for (int s = 0; s < static_cast<int>(row.size()); ++s) {
      if (std::isnan(row[static_cast<std::size_t>(s)])) continue;
      float const gate = 1;
      int const domain = told ? s % 2 : 0;
      cull::add(cull::on_cpu{}, seen.at(2), cull::routing<>{{&e, 1, 1}, {&gate, 1, 1}},
                {.norms = cull::matrix_view<double const>{&row[static_cast<std::size_t>(s)], 1, 1},
                 .sequence = {&s, 1},
                 .domain = {&domain, 1}});
    }
  }
  seen.finish();
  return seen;
}

/// n values of mean m, alternating by d.
std::vector<double> around(double m, double d, int n) {
  std::vector<double> out;
  for (int i = 0; i < n; ++i) out.push_back(i % 2 == 0 ? m + d : m - d);
  return out;
}

auto const reap_error = [](auto const& e, std::int64_t n) { return cull::reap.error(e, n); };

}  // namespace

TEST_CASE("uncertainty: a constructed cut, its ties and what would settle it") {
  int const n = 100;
  auto const seen = with_values(
      {around(9, 1, n), around(5.1, 2, n), around(4.9, 2, n), around(1, 0.5, n), around(3, 0.1, 20), around(5.05, 0.001, n)});
  auto const chosen = cull::select(seen, cull::reap, cull::keep{3});
  auto const& cut = chosen.layers[0];
  CHECK(cut.kept == std::vector<int>{0, 1, 5});
  auto const doubt = cull::uncertainty(seen, cut, reap_error, n);
  // The mean of n independent values has the error d / sqrt(n - 1).
  CHECK(doubt.errors[0] == doctest::Approx(1 / std::sqrt(99.0)));
  CHECK(doubt.errors[1] == doctest::Approx(2 / std::sqrt(99.0)));
  CHECK(doubt.errors[4] == doctest::Approx(0.1 / std::sqrt(19.0)));
  // The cut lies at (5.05 + 4.9) / 2 = 4.975: experts 1 and 2 may belong on the other side, 5 with its small error does not.
  CHECK(doubt.unsettled == std::vector<int>{1, 2});
  CHECK(doubt.starving == std::vector<int>{4});
  // Error must shrink to distance / 1.96: expert 2 is 0.075 off.
  double const factor = 1.96 * (2 / std::sqrt(99.0)) / 0.075;
  CHECK(doubt.sequences_to_settle == doctest::Approx(std::ceil(n * factor * factor - n)).epsilon(1e-3));
  auto const strict = cull::uncertainty(seen, cut, reap_error, n, {.deviations = 0.1, .few_tokens = 1});
  CHECK(strict.unsettled.empty());
  CHECK(strict.starving.empty());
  CHECK(strict.sequences_to_settle == 0);
}

TEST_CASE("uncertainty: twice the sequences settle what they are said to settle") {
  auto const rows = [](int n) { return std::vector<std::vector<double>>{around(2, 1, n), around(1.5, 1, n), around(0.2, 1, n)}; };
  auto const seen = with_values(rows(12));
  auto const cut = cull::select(seen, cull::reap, cull::keep{1}).layers[0];
  auto const doubt = cull::uncertainty(seen, cut, reap_error, 12);
  REQUIRE(doubt.sequences_to_settle > 0);
  auto const needed = 12 + static_cast<int>(doubt.sequences_to_settle);
  auto const more = with_values(rows(needed + needed % 2 + 2));
  CHECK(cull::uncertainty(more, cull::select(more, cull::reap, cull::keep{1}).layers[0], reap_error, needed).unsettled.empty());
  auto const fewer = with_values(rows(needed / 4 * 2));
  CHECK_FALSE(cull::uncertainty(fewer, cull::select(fewer, cull::reap, cull::keep{1}).layers[0], reap_error, needed / 2)
                  .unsettled.empty());
}

TEST_CASE("uncertainty: equal scores are never settled, keeping all leaves nothing open, groups have cuts of their own") {
  auto const seen = with_values({around(3, 0, 10), around(3, 0, 10), around(1, 0, 10), around(9, 0, 10)});
  auto const tie = cull::uncertainty(seen, cull::select(seen, cull::reap, cull::keep{2}).layers[0], reap_error, 10);
  CHECK(tie.unsettled == std::vector<int>{0, 1});
  CHECK(std::isinf(tie.sequences_to_settle));
  auto const all = cull::uncertainty(seen, cull::select(seen, cull::reap, cull::keep{4}).layers[0], reap_error, 10);
  CHECK(all.unsettled.empty());
  CHECK(all.sequences_to_settle == 0);
  auto const grouped = cull::uncertainty(seen, cull::select(seen, cull::reap, cull::keep{2, 2}).layers[0], reap_error, 10);
  CHECK(grouped.unsettled == std::vector<int>{0, 1});
}

TEST_CASE("uncertainty: sums count sequences that never chose the expert as zeros") {
  double const none = std::nan("");
  auto const seen = with_values({{3, 1, none, none, 2}, {1, 1, 1, 1, 1}});
  auto const e = seen.sums(2, 0);
  // Five sequences with weights 1 1 0 0 1 and sums 3 1 0 0 2.
  CHECK(cull::criteria::frequency.error(e, 5) == doctest::Approx(std::sqrt(5.0 / 4 * (3 - 9.0 / 5))));
  CHECK(cull::weighted_ean_sum.error(e, 5) == doctest::Approx(std::sqrt(5.0 / 4 * (14 - 36.0 / 5))));
  CHECK(cull::criteria::frequency.error(seen.sums(2, 1), 5) == 0);
  CHECK(cull::criterion_error_by_name("frequency")(e, 5) == cull::criteria::frequency.error(e, 5));
  CHECK_FALSE(cull::criterion_error_by_name("max_norm"));
  CHECK_THROWS_AS(cull::criterion_error_by_name("easy_ep"), cull::error);
}

TEST_CASE("protection: the frequent and the best of each domain stay, others make room; the cut is between the rest") {
  double const none = std::nan("");
  auto const seen = with_values(
      {{1, 1, 1, 1}, {9, none, none, none}, {none, 8, none, none}, {5, 5, none, none}, {6, none, 6, none}}, {"a", "b"});
  auto const plain = cull::select(seen, cull::reap, cull::keep{2}).layers[0];
  CHECK(plain.kept == std::vector<int>{1, 2});
  auto const frequent = cull::protect_frequent(seen, {1});
  CHECK(frequent == cull::protected_experts{{2, {0}}});
  auto const cut = cull::select(seen, cull::reap, cull::keep{2}, frequent).layers[0];
  CHECK(cut.kept == std::vector<int>{0, 1});
  CHECK(cut.rescued == std::vector<int>{0});
  CHECK(cut.cut_high == 9);
  CHECK(cut.cut_low == 8);
  // By REAP, domain a (sequences 0 and 2) ranks 1, 4, 3; b ranks 2, 3, 0.
  CHECK(cull::protect_domains(seen, cull::reap, {1}) == cull::protected_experts{{2, {1, 2}}});
  CHECK(cull::protect_domains(seen, cull::reap, {2}) == cull::protected_experts{{2, {1, 2, 3, 4}}});
  CHECK(cull::protect_domains(seen, cull::reap, {5}).at(2) == std::vector<int>{0, 1, 2, 3, 4});
  CHECK(cull::united({{1, {0, 3}}, {2, {1}}}, {{2, {0, 1}}, {5, {7}}}) ==
        cull::protected_experts{{1, {0, 3}}, {2, {0, 1}}, {5, {7}}});
  CHECK_THROWS_AS(cull::select(seen, cull::reap, cull::keep{2}, cull::protected_experts{{2, {0, 3, 4}}}), cull::error);
  CHECK_THROWS_AS(cull::protect_domains(with_values({{1}, {2}}), cull::reap, {1}), cull::error);
  auto const roles = cull::roles(seen, 2, 3);
  // Of domain a (1 + 1, 9, -, 5, 6 + 6 = 28) expert 3 has 5, of b (1 + 1, -, 8, 5, - = 15) also 5.
  REQUIRE(roles.size() == 2);
  CHECK(roles[0].domain == "b");
  CHECK(roles[0].share == doctest::Approx(5.0 / 15));
  CHECK(roles[1].share == doctest::Approx(5.0 / 28));
  CHECK(roles[0].part == doctest::Approx((5.0 / 15) / (5.0 / 15 + 5.0 / 28)));
}
