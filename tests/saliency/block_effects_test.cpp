// SPDX-License-Identifier: Apache-2.0
// EASY-EP's and the leave-one-out criterion against the block written out in f64 and long double.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "owned_layer.hpp"
#include "tokens.hpp"

namespace {

using namespace saliency_test;
using row = std::vector<long double>;

row row_of(std::vector<float> const& x, std::int64_t t) { return {x.begin() + t * hidden, x.begin() + (t + 1) * hidden}; }

/// Where a token goes when expert `without` is absent (-1: none is), and with what gates: by sorting all others.
std::vector<std::pair<int, long double>> routed(owned_layer const& of, row const& x, int without) {
  auto const logits = times(of.raw(0), x);
  std::vector<std::pair<long double, int>> ranking;
  auto const score = [&](int e) { return 1 / (1 + std::exp(-logits[static_cast<std::size_t>(e)])); };
  for (int e = 0; e < experts; ++e) {
    if (e != without)
      ranking.push_back({-(score(e) + static_cast<long double>(of.layer.correction_bias[static_cast<std::size_t>(e)])), e});
  }
  std::sort(ranking.begin(), ranking.end());
  std::vector<std::pair<int, long double>> out;
  long double sum = 0;
  for (int i = 0; i < top_k; ++i) {
    out.push_back({ranking[static_cast<std::size_t>(i)].second, score(ranking[static_cast<std::size_t>(i)].second)});
    sum += out.back().second;
  }
  for (auto& [id, gate] : out) gate = 2.5L * gate / sum;
  return out;
}

row block_output(owned_layer const& of, row const& x, int without = -1) {
  row y(hidden);
  for (auto const& [id, gate] : routed(of, x, without)) {
    auto const f = expert_output(of, id, x);
    for (std::size_t h = 0; h < y.size(); ++h) y[h] += gate * f[h];
  }
  return y;
}

long double dot(row const& a, row const& b) {
  long double out = 0;
  for (std::size_t i = 0; i < a.size(); ++i) out += a[i] * b[i];
  return out;
}

struct sums {
  std::vector<double> easy_ep = std::vector<double>(experts), loss = std::vector<double>(experts);
};

sums written_out(owned_layer const& of, std::vector<float> const& x, std::vector<float> const& residual,
                 std::vector<double> const& weights) {
  sums out;
  for (std::int64_t t = 0; t < std::ssize(weights); ++t) {
    auto const in = row_of(x, t), h = row_of(residual, t);
    auto const y = block_output(of, in);
    auto after = h;
    for (std::size_t i = 0; i < y.size(); ++i) after[i] += y[i];
    long double const turn = std::max(0.0L, 1 - dot(h, after) / std::sqrt(dot(h, h) * dot(after, after)));
    for (auto const& [id, gate] : routed(of, in, -1)) {
      auto const f = expert_output(of, id, in);
      auto change = block_output(of, in, id);
      for (std::size_t i = 0; i < y.size(); ++i) change[i] -= y[i];
      auto const at = static_cast<std::size_t>(id);
      auto const w = static_cast<long double>(weights[static_cast<std::size_t>(t)]);
      out.easy_ep[at] += static_cast<double>(w * gate * std::sqrt(dot(f, f)) * turn);
      out.loss[at] += static_cast<double>(w * dot(change, change));
    }
  }
  return out;
}

cull::block_observation observe(owned_layer const& of, std::vector<float> const& x, std::vector<float> const& residual,
                                std::vector<double> const& weights, cull::on_cpu exec, std::int64_t batch) {
  cull::block_observation seen{cull::observation_layout{.layers = {4}, .experts = experts}};
  cull::collector collect{exec, cull::model_router(of.layer), of.layer};
  auto const tokens = std::ssize(weights);
  for (std::int64_t first = 0; first < tokens; first += batch) {
    auto const n = std::min(batch, tokens - first);
    collect({.router_input = {x.data() + first * hidden, n, hidden},
             .weights = {weights.data() + first, n},
             .residual = {residual.data() + first * hidden, n, hidden},
             .leave_one_out = true},
            seen.at(4));
  }
  return seen;
}

std::vector<double> some_weights(std::int64_t tokens) {
  std::vector<double> out;
  for (std::int64_t t = 0; t < tokens; ++t) out.push_back(t % 5 == 0 ? 6.0 : t % 7 == 0 ? 0.0 : 0.3);
  return out;
}

}  // namespace

TEST_CASE("easy_ep and leave_one_out: the sums of the block written out, to 1e-6") {
  owned_layer const of{21};
  auto const x = inputs(90, 22), residual = inputs(90, 23);
  auto const weights = some_weights(90);
  auto const seen = observe(of, x, residual, weights, {2}, 32);
  auto const wanted = written_out(of, x, residual, weights);
  for (int e = 0; e < experts; ++e) {
    CAPTURE(e);
    auto const at = static_cast<std::size_t>(e);
    CHECK(cull::easy_ep(seen.sums(4, e)) == doctest::Approx(wanted.easy_ep[at]).epsilon(1e-6));
    CHECK(cull::leave_one_out(seen.sums(4, e)) == doctest::Approx(wanted.loss[at]).epsilon(1e-6));
    CHECK(wanted.loss[at] > 0);
  }
}

TEST_CASE("easy_ep and leave_one_out: the same bits whatever the batches and threads; merging adds") {
  owned_layer const of{31};
  auto const x = inputs(60, 32), residual = inputs(60, 33);
  auto const weights = some_weights(60);
  auto const whole = observe(of, x, residual, weights, {1}, 60);
  CHECK(whole == observe(of, x, residual, weights, {3}, 7));
  std::vector<float> const x1(x.begin(), x.begin() + 25 * hidden), x2(x.begin() + 25 * hidden, x.end());
  std::vector<float> const r1(residual.begin(), residual.begin() + 25 * hidden),
      r2(residual.begin() + 25 * hidden, residual.end());
  auto const first = observe(of, x1, r1, {weights.begin(), weights.begin() + 25}, {2}, 60);
  auto const second = observe(of, x2, r2, {weights.begin() + 25, weights.end()}, {2}, 60);
  CHECK(cull::merge(first, second) == whole);
  CHECK(cull::merge(second, first) == whole);
}

TEST_CASE("leave_one_out: a router with groups is routed again among what is left of them") {
  owned_layer of{41};
  of.layer.router.groups = 3;
  of.layer.router.top_groups = 2;
  of.layer.router.group_score = cull::group_scoring::maximum;
  auto const x = inputs(30, 42);
  cull::collector collect{cull::on_cpu{1}, cull::model_router(of.layer), of.layer};
  cull::block_observation seen{cull::observation_layout{.layers = {4}, .experts = experts}};
  collect({.router_input = {x.data(), 30, hidden}, .leave_one_out = true}, seen.at(4));
  std::vector<double> wanted(experts);
  for (std::int64_t t = 0; t < 30; ++t) {
    auto const in = row_of(x, t);
    auto const logits = times(of.raw(0), in);
    auto const output = [&](int without) {
      std::vector<std::pair<long double, int>> groups, ranking;
      auto const score = [&](int e) { return 1 / (1 + std::exp(-logits[static_cast<std::size_t>(e)])); };
      auto const choice = [&](int e) {
        return score(e) + static_cast<long double>(of.layer.correction_bias[static_cast<std::size_t>(e)]);
      };
      for (int g = 0; g < 3; ++g) {
        long double best = -1e9L;
        for (int e = 3 * g; e < 3 * g + 3; ++e) best = e == without ? best : std::max(best, choice(e));
        groups.push_back({-best, g});
      }
      std::sort(groups.begin(), groups.end());
      for (int e = 0; e < experts; ++e) {
        if (e != without && (e / 3 == groups[0].second || e / 3 == groups[1].second)) ranking.push_back({-choice(e), e});
      }
      std::sort(ranking.begin(), ranking.end());
      long double sum = 0;
      row y(hidden);
      for (int i = 0; i < top_k; ++i) sum += score(ranking[static_cast<std::size_t>(i)].second);
      for (int i = 0; i < top_k; ++i) {
        int const id = ranking[static_cast<std::size_t>(i)].second;
        auto const f = expert_output(of, id, in);
        for (std::size_t h = 0; h < y.size(); ++h) y[h] += 2.5L * score(id) / sum * f[h];
      }
      return y;
    };
    auto const y = output(-1);
    for (int i = 0; i < top_k; ++i) {
      int const id = collect.routing().ids(t, i);
      auto change = output(id);
      for (std::size_t h = 0; h < y.size(); ++h) change[h] -= y[h];
      wanted[static_cast<std::size_t>(id)] += static_cast<double>(dot(change, change));
    }
  }
  for (int e = 0; e < experts; ++e)
    CHECK(cull::leave_one_out(seen.sums(4, e)) == doctest::Approx(wanted[static_cast<std::size_t>(e)]).epsilon(1e-6));
}

TEST_CASE("leave_one_out: a router that chooses all its experts cannot lose one") {
  owned_layer of{51};
  of.layer.router.top_k = experts;
  auto const x = inputs(2, 52);
  cull::collector collect{cull::on_cpu{1}, cull::model_router(of.layer), of.layer};
  cull::block_observation seen{cull::observation_layout{.layers = {4}, .experts = experts}};
  CHECK_THROWS_AS(collect({.router_input = {x.data(), 2, hidden}, .leave_one_out = true}, seen.at(4)), cull::error);
}

TEST_CASE("measures of the block: not asked for, they sum nothing; criteria by name say what they lack") {
  owned_layer const of{61};
  auto const x = inputs(5, 62);
  cull::collector collect{cull::on_cpu{1}, cull::model_router(of.layer), of.layer};
  cull::block_observation seen{cull::observation_layout{.layers = {4}, .experts = experts}};
  collect({.router_input = {x.data(), 5, hidden}}, seen.at(4));
  for (int e = 0; e < experts; ++e) {
    CHECK(cull::easy_ep(seen.sums(4, e)) == 0);
    CHECK(cull::leave_one_out(seen.sums(4, e)) == 0);
  }
  CHECK(cull::criterion_by_name<cull::block_sums>("easy_ep")(seen.sums(4, 0)) == 0);
  CHECK_THROWS_WITH_AS(cull::criterion_by_name("easy_ep"), doctest::Contains("lacks"), cull::error);
  CHECK_THROWS_WITH_AS(cull::criterion_by_name<cull::block_sums>("none"), doctest::Contains("leave_one_out"), cull::error);
}

TEST_CASE("weighted: every sum times the factor, as if every token had that weight") {
  auto const tokens = make_tokens(200, 7, 2, 5);
  auto heavy = tokens;
  for (auto& t : heavy) t.weight *= 4;
  cull::default_observation plain{cull::observation_layout{.layers = {4}, .experts = 7}}, wanted = plain;
  add(plain, 4, tokens);
  add(wanted, 4, heavy);
  auto const got = cull::weighted(plain, 4.0);
  wanted.finish();
  for (int e = 0; e < 6; ++e) {
    auto const is = got.sums(4, e), should = wanted.sums(4, e);
    CHECK(is.count() == should.count());
    CHECK(is.max_norm() == should.max_norm());
    CHECK(is.sum(cull::weight) == doctest::Approx(should.sum(cull::weight)).epsilon(1e-14));
    CHECK(is.sum(cull::norm_squared) == doctest::Approx(should.sum(cull::norm_squared)).epsilon(1e-14));
    CHECK(is.clusters().sequences == should.clusters().sequences);
    CHECK(is.clusters().with_weight(cull::norm).value() ==
          doctest::Approx(should.clusters().with_weight(cull::norm).value()).epsilon(1e-14));
    CHECK(is.standard_error_of_sum(cull::gate_norm, 30) ==
          doctest::Approx(should.standard_error_of_sum(cull::gate_norm, 30)).epsilon(1e-9));
  }
  CHECK(cull::weighted(plain, 1.0) == cull::finished(plain));
  auto const third = cull::weighted(plain, 1.0 / 3);
  for (int e = 0; e < 6; ++e) {
    CHECK(third.sums(4, e).sum(cull::gate_norm) == doctest::Approx(plain.sums(4, e).sum(cull::gate_norm) / 3).epsilon(1e-12));
    CHECK(cull::reap(third.sums(4, e)) == doctest::Approx(cull::reap(plain.sums(4, e))).epsilon(1e-12));
    CHECK(third.sums(4, e).standard_error(cull::gate_norm) ==
          doctest::Approx(cull::finished(plain).sums(4, e).standard_error(cull::gate_norm)).epsilon(1e-9));
    CHECK(third.sums(4, e).count() == plain.sums(4, e).count());
  }
  for (double const wrong : {0.0, -1.0, HUGE_VAL, std::nan("")}) CHECK_THROWS_AS(cull::weighted(plain, wrong), cull::error);
}
