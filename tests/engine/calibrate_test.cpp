// SPDX-License-Identifier: Apache-2.0
// Calibration against saliency that torch computed in f64, and against itself.
#include "fixture.hpp"

#include <algorithm>
#include <random>

#include <cull/saliency.hpp>
#include <cull/selection.hpp>

#include <engine/calibrate.hpp>

namespace {

bool same(engine::observation const& a, engine::observation const& b) { return a == b; }

struct sums_check {
  std::int64_t other_counts = 0;
  double worst = 0;
};

/// Every sum of every expert against the oracle's tensors `set.*`.
sums_check against_oracle(engine::observation const& seen, std::string const& set) {
  fixture::oracle const answer{"saliency"};
  auto const counts = answer.values<std::int64_t>(set + ".count");
  sums_check out;
  auto const compare = [&](char const* name, auto&& value) {
    auto const wanted = answer.values<double>(set + "." + name);
    for (std::size_t row = 0; row < 5; ++row) {
      for (int expert = 0; expert < 64; ++expert) {
        auto const at = row * 64 + static_cast<std::size_t>(expert);
        double const ours = value(seen.sums(static_cast<int>(row) + 1, expert));
        if (wanted[at] == 0) {
          CHECK(ours == 0);
        } else {
          out.worst = std::max(out.worst, std::abs(ours - wanted[at]) / std::abs(wanted[at]));
        }
      }
    }
  };
  for (std::size_t row = 0; row < 5; ++row) {
    for (int expert = 0; expert < 64; ++expert) {
      auto const ours = seen.sums(static_cast<int>(row) + 1, expert).count();
      out.other_counts += ours != counts[row * 64 + static_cast<std::size_t>(expert)] ? 1 : 0;
    }
  }
  compare("sum_w", [](auto const& e) { return e.sum(cull::weight); });
  compare("sum_g", [](auto const& e) { return e.sum(cull::gate); });
  compare("sum_f", [](auto const& e) { return e.sum(cull::norm); });
  compare("sum_gf", [](auto const& e) { return e.sum(cull::gate_norm); });
  compare("sum_gf2", [](auto const& e) { return e.sum(cull::gate_norm_squared); });
  compare("sum_f2", [](auto const& e) { return e.sum(cull::norm_squared); });
  compare("max_f", [](auto const& e) { return e.max_norm(); });
  return out;
}

void check_keep_sets(engine::observation const& seen, std::string const& set) {
  auto const keep = fixture::json(fixture::root() / "oracle/keep.json");
  for (auto const& entry : keep.at("sets").at(set).items()) {
    auto const& name = entry.key();
    auto const& layers = entry.value();
    auto const chosen = cull::select(seen, cull::criterion_by_name<cull::block_sums>(name), cull::keep{42});
    REQUIRE(chosen.layers.size() == layers.size());
    for (std::size_t i = 0; i < layers.size(); ++i) {
      CAPTURE(name);
      CAPTURE(i);
      CHECK(chosen.layers[i].layer == keep.at("layers").at(i).get<int>());
      CHECK(chosen.layers[i].kept == layers.at(i).get<std::vector<int>>());
    }
  }
}

void check_set(std::string const& set) {
  auto const result =
      engine::calibrate(fixture::model(), cull::on_cpu{2}, fixture::sequences("calibration/" + set + ".jsonl"), {});
  auto const check = against_oracle(result.observation, set);
  CHECK(check.other_counts == 0);
  CHECK(check.worst < 3e-6);
  MESSAGE(set << ": worst sum " << check.worst << ", " << result.seconds << " s");
  check_keep_sets(result.observation, set);
}

/// A share of the code set that is quick to run many times.
std::vector<engine::sequence> sample() {
  auto all = fixture::sequences("calibration/code.jsonl");
  all.resize(9);
  for (auto& each : all) engine::emphasize(each, {.token = 263, .radius = 5, .weight = 2.7});
  return all;
}

engine::observation observe(std::span<engine::sequence const> sequences, cull::on_cpu exec,
                            engine::calibration_options options = {}) {
  return engine::calibrate(fixture::model(), exec, sequences, options).observation;
}

}  // namespace

TEST_CASE("calibrate: code set, every sum and every keep-set") { check_set("code"); }
TEST_CASE("calibrate: weighted set, every sum and every keep-set") { check_set("term"); }

TEST_CASE("calibrate: the same bits whatever the threads, batches, order and split") {
  auto sequences = sample();
  auto const whole = observe(sequences, {1}, {.batch_tokens = 0});
  for (int const threads : {2, 4}) CHECK(same(whole, observe(sequences, {threads}, {.batch_tokens = 0})));
  for (std::int64_t const batch : {1, 7, 64}) CHECK(same(whole, observe(sequences, {2}, {.batch_tokens = batch})));
  std::shuffle(sequences.begin(), sequences.end(), std::mt19937{5});
  CHECK(same(whole, observe(sequences, {2}, {.batch_tokens = 64})));

  auto merged = observe(std::span{sequences}.subspan(0, 1), {2});
  for (std::size_t const first : {1U, 3U, 5U, 7U}) {
    merged = cull::merge(observe(std::span{sequences}.subspan(first, 2), {2}, {.batch_tokens = 50}), merged);
  }
  CHECK(same(whole, merged));
  CHECK_THROWS_AS(cull::merge(merged, observe(std::span{sequences}.subspan(3, 1), {2})), cull::error);
}

TEST_CASE("calibrate: batches and threads are counted; domains add up") {
  auto const sequences = sample();
  std::int64_t tokens = 0;
  for (auto const& each : sequences) tokens += static_cast<std::int64_t>(each.ids.size());
  auto const drafts = tokens - static_cast<std::int64_t>(sequences.size());
  auto const result = engine::calibrate(fixture::model(), cull::on_cpu{3}, sequences, {.batch_tokens = 64, .by_domain = true});
  CHECK(result.tokens == tokens);
  CHECK(result.batches == 5 * ((tokens + 63) / 64) + (drafts + 63) / 64);
  CHECK(result.threads == 3);
  CHECK(result.observation.domains() == std::vector<std::string>{"code", "tool"});
  auto const plain = observe(sequences, {1});
  for (int layer = 1; layer <= 5; ++layer) {
    for (int expert = 0; expert < 64; ++expert) {
      auto const code = result.observation.sums(layer, expert, 0), tool = result.observation.sums(layer, expert, 1);
      CHECK(code.count() + tool.count() == plain.sums(layer, expert).count());
      CHECK(result.observation.sums(layer, expert).exact(cull::gate_norm) == plain.sums(layer, expert).exact(cull::gate_norm));
    }
  }
}
