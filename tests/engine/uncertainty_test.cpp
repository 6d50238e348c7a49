// SPDX-License-Identifier: Apache-2.0
// Standard errors of scores against a bootstrap over sequences, made from a calibration of each sequence alone.
#include "fixture.hpp"

#include <algorithm>
#include <array>
#include <map>
#include <random>

#include <cull/selection.hpp>

#include <engine/calibrate.hpp>

namespace {

/// Sums of every sequence at every expert, of what criteria are made of.
enum sum { weight, gate, norm, gate_norm, turned, loss, sums };
struct per_sequence {
  std::vector<std::array<double, sums>> at[320];  // [64 * layer + expert][sequence]
};

per_sequence calibrate_each(std::vector<engine::sequence> const& sequences) {
  per_sequence out;
  for (auto const& each : sequences) {
    auto const seen =
        engine::calibrate(fixture::model(), cull::on_cpu{0}, std::span{&each, 1}, {.leave_one_out = true}).observation;
    for (int n = 0; n < 320; ++n) {
      auto const e = seen.sums(1 + n / 64, n % 64);
      out.at[n].push_back({e.sum(cull::weight), e.sum(cull::gate), e.sum(cull::norm), e.sum(cull::gate_norm),
                           e.sum(cull::turned_gate_norm), e.sum(cull::leave_one_out_loss)});
    }
  }
  return out;
}

double deviation(std::vector<double> const& of) {
  double mean = 0, squares = 0;
  for (double const x : of) mean += x / static_cast<double>(of.size());
  for (double const x : of) squares += (x - mean) * (x - mean);
  return std::sqrt(squares / static_cast<double>(of.size() - 1));
}

double median(std::vector<double> of) {
  std::nth_element(of.begin(), of.begin() + std::ssize(of) / 2, of.end());
  return of[of.size() / 2];
}

/// Standard deviations of all criteria of drawn sequences, per expert; 2,000 draws.
using statistic = double (*)(std::array<double, sums> const&);
std::map<std::string, statistic> const criteria{
    {"reap", [](auto const& s) { return s[gate_norm] / s[weight]; }},
    {"frequency", [](auto const& s) { return s[weight]; }},
    {"weighted_frequency", [](auto const& s) { return s[gate]; }},
    {"ean_sum", [](auto const& s) { return s[norm]; }},
    {"ean_mean", [](auto const& s) { return s[norm] / s[weight]; }},
    {"weighted_ean_sum", [](auto const& s) { return s[gate_norm]; }},
    {"easy_ep", [](auto const& s) { return s[turned]; }},
    {"leave_one_out", [](auto const& s) { return s[loss]; }},
};

std::map<std::string, std::vector<double>> bootstrap(per_sequence const& from) {
  auto const n = from.at[0].size();
  std::mt19937 random{17};
  std::uniform_int_distribution<std::size_t> any{0, n - 1};
  std::map<std::string, std::vector<std::vector<double>>> drawn;
  for (auto const& [name, of] : criteria) drawn[name].resize(320);
  for (int draw = 0; draw < 2000; ++draw) {
    std::vector<double> times(n);
    for (std::size_t i = 0; i < n; ++i) times[any(random)] += 1;
    for (std::size_t e = 0; e < 320; ++e) {
      std::array<double, sums> total{};
      for (std::size_t s = 0; s < n; ++s) {
        for (std::size_t i = 0; i < sums; ++i) total[i] += times[s] * from.at[e][s][i];
      }
      if (!(total[weight] > 0)) continue;
      for (auto const& [name, of] : criteria) drawn[name][e].push_back(of(total));
    }
  }
  std::map<std::string, std::vector<double>> out;
  for (auto const& [name, experts] : drawn) {
    for (auto const& values : experts) out[name].push_back(values.size() < 2 ? 0.0 : deviation(values));
  }
  return out;
}

}  // namespace

TEST_CASE("standard errors: as a bootstrap over the term set's sequences has them, the median within 10 %") {
  auto const sequences = fixture::sequences("calibration/term.jsonl");
  auto const seen = engine::calibrate(fixture::model(), cull::on_cpu{0}, sequences, {.leave_one_out = true}).observation;
  for (auto const& bootstrapped : bootstrap(calibrate_each(sequences))) {
    auto const& criterion = bootstrapped.first;
    auto const& drawn = bootstrapped.second;
    CAPTURE(criterion);
    auto const error_of = cull::criterion_error_by_name<cull::block_sums>(criterion);
    std::vector<double> off, ratios;
    for (std::size_t e = 0; e < 320; ++e) {
      double const ours = error_of(seen.sums(static_cast<int>(e / 64) + 1, static_cast<int>(e % 64)), std::ssize(sequences));
      if (!(drawn[e] > 0)) continue;
      ratios.push_back(ours / drawn[e]);
      off.push_back(std::abs(ours / drawn[e] - 1));
    }
    CHECK(ratios.size() > 250);
    CHECK(median(ratios) == doctest::Approx(1).epsilon(0.1));
    CHECK(median(off) < 0.1);
    MESSAGE(criterion << ": median ratio " << median(ratios) << ", median difference " << median(off) << " over " << off.size()
                      << " experts");
  }
  // Every criterion but the maximum.
  for (auto const name : cull::criteria::names) CHECK((criteria.contains(std::string{name}) || name == "max_norm"));
  for (auto const name : cull::criteria::block_names) CHECK(criteria.contains(std::string{name}));
}

TEST_CASE("sequential calibration: later layers see the pruned prefix, bit for bit that of the pruned model") {
  auto sequences = fixture::sequences("calibration/code.jsonl");
  sequences.resize(6);
  engine::calibration_options options;
  options.sequential = {{.count = 42}, "reap"};
  auto const sequential = engine::calibrate(fixture::model(), cull::on_cpu{0}, sequences, options);
  auto const one_shot = engine::calibrate(fixture::model(), cull::on_cpu{0}, sequences);
  REQUIRE(sequential.pruned.layers.size() == 5);

  // The first MoE layer has seen the same, the others have not.
  for (int e = 0; e < 64; ++e) {
    CHECK(sequential.observation.sums(1, e) == one_shot.observation.sums(1, e));
  }
  auto const again = cull::select(sequential.observation, cull::reap, cull::keep{42});
  auto const before = cull::select(one_shot.observation, cull::reap, cull::keep{42});
  for (std::size_t l = 0; l < 5; ++l) CHECK(again.layers[l].kept == sequential.pruned.layers[l].kept);
  CHECK(cull::compare(before, again)[0].jaccard == 1);
  CHECK(before.layers[2].scores != again.layers[2].scores);

  // Hidden states behind every layer are those of the checkpoint that the keep-sets lead to.
  fixture::scratch_folder const folder;
  cull::apply(fixture::model(), cull::plan(fixture::model(), again), folder.path());
  auto const pruned = cull::checkpoint::open(folder.path());
  std::map<std::pair<int, std::int64_t>, std::vector<float>> wanted, got;
  auto const keep = [](auto& to) {
    return [&to](int layer, std::int64_t s, cull::matrix_view<float const> hidden) {
      auto& values = to[{layer, s}];
      for (std::int64_t t = 0; t < hidden.rows(); ++t) values.insert(values.end(), hidden.row(t).begin(), hidden.row(t).end());
    };
  };
  engine::decoder{pruned, cull::on_cpu{0}}.run(sequences, {.on_hidden = keep(wanted)});
  engine::observation seen{cull::observation_layout{.layers = fixture::model().moe_layers(), .experts = 64}};
  auto const prune = [&](int layer) { return again.layers[static_cast<std::size_t>(layer - 1)].kept; };
  engine::decoder{fixture::model(), cull::on_cpu{0}}.run(sequences,
                                                         {.observer = &seen, .prune_after = prune, .on_hidden = keep(got)});
  CHECK(wanted.size() == 36);
  CHECK(wanted == got);
}

TEST_CASE("sequential calibration: merges with nothing that has not seen the same prefix") {
  auto const all = fixture::sequences("calibration/code.jsonl");
  engine::calibration_options options;
  options.sequential = {{.count = 42}, "reap"};
  auto const run = [&](std::size_t first, engine::calibration_options const& how) {
    return engine::calibrate(fixture::model(), cull::on_cpu{0}, std::span{all}.subspan(first, 1), how).observation;
  };
  auto const sequential = run(0, options);
  CHECK(sequential.provenance().settings.starts_with("precision=f32;sequential=reap:42;prefix="));
  auto const refused = [](auto const& a, auto const& b) {
    try {
      cull::merge(a, b);
    } catch (cull::error const& problem) {
      return problem.code() == cull::errc::mismatched_states;
    }
    return false;
  };
  CHECK(refused(sequential, run(1, {})));
  CHECK(refused(sequential, run(1, options)));
  options.sequential.reset();
  options.leave_one_out = true;
  CHECK(refused(run(0, {}), run(1, options)));
}

TEST_CASE("easy_ep and leave_one_out: measured by calibration, in every MoE layer") {
  auto sequences = fixture::sequences("calibration/code.jsonl");
  sequences.resize(2);
  auto const seen = engine::calibrate(fixture::model(), cull::on_cpu{0}, sequences, {.leave_one_out = true}).observation;
  auto const plain = engine::calibrate(fixture::model(), cull::on_cpu{2}, sequences).observation;
  for (int layer = 1; layer <= 5; ++layer) {
    double turns = 0, losses = 0;
    for (int e = 0; e < 64; ++e) {
      auto const sums = seen.sums(layer, e);
      turns += cull::easy_ep(sums);
      losses += cull::leave_one_out(sums);
      CHECK((cull::leave_one_out(sums) > 0) == (sums.count() > 0));
      CHECK(sums.exact(cull::gate_norm) == plain.sums(layer, e).exact(cull::gate_norm));
      CHECK(sums.exact(cull::turned_gate_norm) == plain.sums(layer, e).exact(cull::turned_gate_norm));
      CHECK(cull::leave_one_out(plain.sums(layer, e)) == 0);
    }
    CHECK(turns > 0);
    CHECK(losses > 0);
  }
}
