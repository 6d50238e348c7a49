// SPDX-License-Identifier: Apache-2.0
// Comparing two models token by token, and intervals, against torch's logits and closed formulas.
#include "fixture.hpp"

#include <algorithm>
#include <random>

#include <engine/divergence.hpp>
#include <engine/eval.hpp>

namespace {

/// Divergence of softmax(q) from softmax(p) by its definition, in long double.
double by_definition(std::span<float const> p, std::span<float const> q) {
  long double p_all = 0, q_all = 0, out = 0;
  for (float const x : p) p_all += std::exp(static_cast<long double>(x));
  for (float const x : q) q_all += std::exp(static_cast<long double>(x));
  for (std::size_t i = 0; i < p.size(); ++i) {
    long double const a = std::exp(static_cast<long double>(p[i])) / p_all, b = std::exp(static_cast<long double>(q[i])) / q_all;
    out += a * std::log(a / b);
  }
  return static_cast<double>(out);
}

cull::pruning_plan reap_code() {
  auto const keep = fixture::json(fixture::root() / "oracle/keep.json");
  cull::pruning_plan plan;
  for (std::size_t i = 0; i < 5; ++i)
    plan.layers[keep.at("layers").at(i).get<int>()] = keep.at("sets").at("code").at("reap").at(i).get<std::vector<int>>();
  return plan;
}

}  // namespace

TEST_CASE("kl_divergence: by its definition, 0 for equal predictions whatever their logits' offset") {
  std::mt19937 random{3};
  std::normal_distribution<float> normal{0, 4};
  for (int trial = 0; trial < 50; ++trial) {
    std::vector<float> p(272), q(272);
    for (auto& x : p) x = normal(random);
    for (auto& x : q) x = normal(random);
    auto const view = [](std::vector<float> const& v) { return cull::array_view<float const>{v}; };
    CHECK(engine::kl_divergence(view(p), view(q)) == doctest::Approx(by_definition(p, q)).epsilon(1e-9));
    auto shifted = p;
    for (auto& x : shifted) x += 64;
    CHECK(engine::kl_divergence(view(p), view(shifted)) < 1e-5);
  }
}

TEST_CASE("divergence: a pruned model from the whole one as torch's logits of both have it") {
  fixture::scratch_folder const folder;
  cull::apply(fixture::model(), reap_code(), folder.path());
  auto const pruned = cull::checkpoint::open(folder.path());
  fixture::oracle const whole{"forward"}, cut{"forward-reap-code"};
  auto sequences = std::vector{whole.sequences().at(1)};
  REQUIRE(sequences[0].ids == cut.sequences().at(0).ids);
  auto const p = whole.values<float>("logits.1"), q = cut.values<float>("logits");
  auto const& ids = sequences[0].ids;
  auto const tokens = ids.size();
  auto const end = static_cast<std::size_t>(std::find(ids.begin(), ids.end(), 262) - ids.begin());
  double kl = 0, same = 0, before = 0, early = 0;
  std::int64_t count_before = 0;
  for (std::size_t t = 0; t + 1 < tokens; ++t) {
    std::span const a{p.data() + 272 * t, 272}, b{q.data() + 272 * t, 272};
    double const here = by_definition(a, b);
    kl += here;
    same += std::max_element(a.begin(), a.end()) - a.begin() == std::max_element(b.begin(), b.end()) - b.begin() ? 1 : 0;
    early += t < 16 ? here : 0;
    if (t + 1 <= end) {
      before += here;
      ++count_before;
    }
  }
  auto const n = static_cast<double>(tokens - 1);

  engine::reference_run const reference{fixture::model(), cull::on_cpu{0}, sequences, {}};
  engine::eval_options options;
  options.reference = &reference;
  auto const got = engine::evaluate(pruned, cull::on_cpu{0}, sequences, {}, options).divergence.value();
  CHECK(got.all.tokens == static_cast<std::int64_t>(tokens) - 1);
  CHECK(got.all.kl.value == doctest::Approx(kl / n).epsilon(1e-4));
  CHECK(got.all.top1.value == doctest::Approx(same / n));
  CHECK(got.by_domain.at("all").kl.value == got.all.kl.value);
  CHECK(got.by_position.at(0).kl.value == doctest::Approx(early / 16).epsilon(1e-4));
  CHECK(got.by_position.at(0).tokens == 16);
  CHECK(got.by_position.at(16).tokens == 16);
  CHECK(got.by_position.at(32).tokens == static_cast<std::int64_t>(tokens) - 1 - 32);
  if (end < tokens) {
    CHECK(got.by_part.at("before").tokens == count_before);
    CHECK(got.by_part.at("before").kl.value == doctest::Approx(before / static_cast<double>(count_before)).epsilon(1e-4));
  } else {
    CHECK(got.by_part.empty());
  }
  MESSAGE("KL " << got.all.kl.value << ", same likeliest token " << got.all.top1.value);
}

TEST_CASE("divergence: a model from itself is none; parts are told apart at </think>") {
  std::vector<engine::sequence> const sequences{
      {.id = "a", .domain = "x", .ids = {256, 257, 65, 262, 66, 67, 263}, .weights = {}},
      {.id = "b", .domain = "y", .ids = {256, 257, 65}, .weights = {}}};
  engine::reference_run const reference{fixture::model(), cull::on_cpu{0}, sequences, {}};
  engine::eval_options options;
  options.reference = &reference;
  auto const got = engine::evaluate(fixture::model(), cull::on_cpu{0}, sequences, {}, options).divergence.value();
  CHECK(got.all.kl.value == 0);
  CHECK(got.all.top1.value == 1);
  CHECK(got.all.tokens == 8);
  CHECK(got.by_part.at("before").tokens == 3);  // 257, 65 and </think> itself
  CHECK(got.by_part.at("after").tokens == 3);
  CHECK(got.by_domain.at("y").tokens == 2);
}

TEST_CASE("share: Wilson's interval as published examples have it") {
  auto const half = engine::share(50, 100);
  CHECK(half.low == doctest::Approx(0.4038).epsilon(1e-3));
  CHECK(half.high == doctest::Approx(0.5962).epsilon(1e-3));
  auto const none = engine::share(0, 10);
  CHECK(none.low == 0);
  CHECK(none.high == doctest::Approx(0.2775).epsilon(1e-3));
  auto const all = engine::share(10, 10);
  CHECK(all.low == doctest::Approx(0.7225).epsilon(1e-3));
  CHECK(all.high == 1);
  // The bounds are where the score test rejects: (p - x)^2 = z^2 x (1 - x) / n.
  for (std::int64_t hits = 1; hits < 30; ++hits) {
    auto const f = engine::share(hits, 30);
    for (double const x : {f.low, f.high})
      CHECK((f.value - x) * (f.value - x) ==
            doctest::Approx(1.959963984540054 * 1.959963984540054 * x * (1 - x) / 30).epsilon(1e-9));
  }
}

TEST_CASE("ratio: the quotient of sums; the bootstrap's interval is that of the normal law where it holds") {
  std::mt19937 random{9};
  std::normal_distribution<double> normal{5, 2};
  std::vector<engine::ratio_part> parts;
  double sum = 0, squares = 0;
  for (int i = 0; i < 400; ++i) {
    double const x = normal(random);
    parts.push_back({3 * x, 3});
    sum += x;
    squares += x * x;
  }
  double const mean = sum / 400, error = std::sqrt((squares / 400 - mean * mean) / 400);
  auto const got = engine::ratio(parts);
  CHECK(got.value == doctest::Approx(mean));
  CHECK(got.low == doctest::Approx(mean - 1.96 * error).epsilon(0.01));
  CHECK(got.high == doctest::Approx(mean + 1.96 * error).epsilon(0.01));
  CHECK(engine::ratio(parts).low == got.low);
  std::vector<engine::ratio_part> const uneven{{1, 1}, {0, 99}};
  CHECK(engine::ratio(uneven).value == doctest::Approx(0.01));
}

TEST_CASE("loops: some run of ids occurs often enough") {
  engine::loop_definition const two_twice{.ids = 2, .times = 2};
  CHECK(engine::is_looping(std::vector{1, 2, 3, 1, 2}, two_twice));
  CHECK(engine::is_looping(std::vector{1, 1, 1}, two_twice));
  CHECK_FALSE(engine::is_looping(std::vector{1, 2, 3, 2, 1}, two_twice));
  CHECK_FALSE(engine::is_looping(std::vector{1}, two_twice));
  CHECK_FALSE(engine::is_looping({}, two_twice));
  std::vector<int> cycle;
  for (int i = 0; i < 8 + 3 * 5; ++i) cycle.push_back(i % 5);
  CHECK(engine::is_looping(cycle, {}));  // a period of 5 brings 8 ids back 4 times in 8 + 3 * 5
  cycle.pop_back();
  CHECK_FALSE(engine::is_looping(cycle, {}));
}
