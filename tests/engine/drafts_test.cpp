// SPDX-License-Identifier: Apache-2.0
// Drafts of the MTP layer applied repeatedly, against torch's for one step and one branch at a time for more.
#include "fixture.hpp"

#include <algorithm>

#include <engine/drafts.hpp>
#include <engine/sampling.hpp>

namespace {

/// Final-normed hidden states of one sequence.
engine::buffer normed_states(std::vector<int> const& ids) {
  engine::buffer out;
  std::vector<engine::sequence> const one{{.id = "a", .domain = "x", .ids = ids, .weights = {}}};
  engine::decoder{fixture::model(), cull::on_cpu{0}}.run(one,
                                                         {.on_normed = [&](std::int64_t, cull::matrix_view<float const> normed) {
                                                           out = engine::buffer{normed.rows(), normed.cols()};
                                                           for (std::int64_t t = 0; t < normed.rows(); ++t)
                                                             std::copy(normed.row(t).begin(), normed.row(t).end(), out.row(t));
                                                         }});
  return out;
}

/// The drafts behind position t alone: a fresh cache, the layer taken token by token.
std::vector<int> drafts_behind(std::vector<int> const& ids, engine::buffer const& normed, std::int64_t t, int drafts) {
  auto const config = engine::read_model_config(fixture::model());
  engine::dense const products{cull::on_cpu{1}};
  engine::embedding const embed{fixture::model(), config};
  engine::head const head{fixture::model(), config, products};
  engine::mtp_layer const mtp{fixture::model(), config, products};
  engine::layer_cache cache{config.cached_values(), config.cached_index_values()};
  engine::picked_positions picks;
  engine::buffer hidden;
  auto const step = [&](int next, std::int64_t position, cull::matrix_view<float const> from) {
    hidden = mtp.input(embed, std::span{&next, 1}, std::span{&position, 1}, from);
    engine::token_place const place{position, &cache, &picks};
    mtp.layer()(hidden.view(), std::span{&place, 1}, {});
    return engine::argmax(head.logits(mtp.head_norm()(hidden.view()).view()).view().row(0));
  };
  int draft = 0;
  for (std::int64_t p = 0; p <= t; ++p) draft = step(ids[static_cast<std::size_t>(p + 1)], p, normed.view().rows(p, 1));
  std::vector<int> out{draft};
  for (int d = 1; d < drafts; ++d) {
    engine::buffer const before = hidden;
    out.push_back(step(out.back(), t + d, before.view()));
  }
  return out;
}

}  // namespace

TEST_CASE("drafts: the first are torch's MTP predictions, all are those of one branch taken by itself") {
  fixture::oracle const answer{"forward"};
  auto const ids = answer.sequences().at(1).ids;
  auto const normed = normed_states(ids);
  engine::drafter const drafter{fixture::model(), cull::on_cpu{0}, {}};
  auto const got = drafter.draft(ids, normed.view(), 4);
  REQUIRE(got.ids.size() == 4);
  auto const wanted = answer.values<float>("mtp_logits.1");
  for (std::size_t t = 0; t + 1 < ids.size(); ++t) {
    auto const* const row = wanted.data() + 272 * t;
    CHECK(got.ids[0][t] == std::max_element(row, row + 272) - row);
  }
  for (std::int64_t const t : {0, 1, 20, 41, static_cast<int>(ids.size()) - 2}) {
    auto const alone = drafts_behind(ids, normed, t, 4);
    for (std::size_t d = 0; d < 4; ++d) CHECK(got.ids[d][static_cast<std::size_t>(t)] == alone[d]);
  }
}

TEST_CASE("walk: steps of confirmed drafts and one more") {
  // Ids 10 to 17; all from 12 on are new. Drafts for position n + 1 stand at [0][n - 1].
  std::vector<int> const ids{10, 11, 12, 13, 14, 15, 16, 17};
  engine::draft_table right{{{12, 13, 14, 15, 16, 17, 18}, {13, 14, 15, 16, 17, 18, 19}}};
  // From n = 2: with two drafts 13 14 and the model's 15, then 16 17: five tokens in two runs.
  auto const two = engine::walk(ids, 2, right, 2);
  CHECK(two.numerator == 5);
  CHECK(two.denominator == 2);
  auto const one = engine::walk(ids, 2, right, 1);  // 13 14, 15 16, 17
  CHECK(one.numerator == 5);
  CHECK(one.denominator == 3);
  engine::draft_table wrong{{std::vector<int>(7, -1), {13, 14, 15, 16, 17, 18, 19}}};
  auto const none = engine::walk(ids, 2, wrong, 2);  // a wrong first draft loses the second
  CHECK(none.numerator == 5);
  CHECK(none.denominator == 5);
  CHECK(engine::walk(ids, 7, right, 2).denominator == 0);
}

TEST_CASE("acceptance_lengths: between 1 and drafts + 1, more with more drafts; one draft as its own predictions count it") {
  auto const prompts = engine::read_prompts(fixture::root() / "eval/prompts.jsonl", 272);
  auto const few = std::span{prompts}.first(6);
  auto const traces = engine::generate(fixture::model(), cull::on_cpu{0}, few, {.max_tokens = 60, .stop = {263, 260}});
  auto const got = engine::acceptance_lengths(fixture::model(), cull::on_cpu{0}, traces, 3);
  REQUIRE(got.size() == 3);
  for (int k = 1; k <= 3; ++k) {
    auto const& a = got[static_cast<std::size_t>(k - 1)];
    CHECK(a.drafts == k);
    CHECK(a.length.value >= 1);
    CHECK(a.length.value <= k + 1);
    CHECK(a.length.low <= a.length.value);
    CHECK(a.length.high >= a.length.value);
    if (k > 1) CHECK(a.length.value >= got[static_cast<std::size_t>(k - 2)].length.value);
  }
  double tokens = 0, runs = 0;
  for (auto const& each : traces) {
    auto const normed = normed_states(each.ids);
    for (std::size_t n = each.ids.size() - each.new_ids.size(); n + 1 < each.ids.size(); ++runs) {
      bool const hit = drafts_behind(each.ids, normed, static_cast<std::int64_t>(n) - 1, 1)[0] == each.ids[n + 1];
      std::size_t const taken = hit && n + 2 < each.ids.size() ? 2 : 1;
      tokens += static_cast<double>(taken);
      n += taken;
    }
  }
  CHECK(got[0].length.value == doctest::Approx(tokens / runs));
  CHECK(engine::acceptance_lengths(fixture::model(), cull::on_cpu{0}, traces, 0).empty());
}
