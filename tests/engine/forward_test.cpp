// SPDX-License-Identifier: Apache-2.0
// The decoder against transformers' own forward in f32.
#include "fixture.hpp"

#include <algorithm>
#include <set>

namespace {

std::string numbered(std::string const& name, std::int64_t a) { return name + "." + std::to_string(a); }
std::string numbered(std::string const& name, std::int64_t a, std::int64_t b) { return numbered(numbered(name, a), b); }

}  // namespace

TEST_CASE("forward: hidden states, logits, MTP logits, chosen experts and their weights are transformers'") {
  fixture::oracle const answer{"forward"};
  auto const sequences = answer.sequences();
  REQUIRE(sequences.size() == 5);
  double logits_error = 0, mtp_error = 0, hidden_error = 0, weight_error = 0;
  std::int64_t rows_seen = 0, other_experts = 0;
  engine::layer_hooks hooks;
  hooks.on_logits = [&](std::int64_t s, auto logits) {
    logits_error = std::max(logits_error, fixture::relative_error(logits, answer.values<float>(numbered("logits", s))));
  };
  hooks.on_mtp_logits = [&](std::int64_t s, auto logits) {
    mtp_error = std::max(mtp_error, fixture::relative_error(logits, answer.values<float>(numbered("mtp_logits", s))));
  };
  hooks.on_hidden = [&](int layer, std::int64_t s, auto hidden) {
    if (s != 0) return;
    hidden_error = std::max(hidden_error, fixture::relative_error(hidden, answer.values<float>(numbered("hidden", layer, s))));
  };
  hooks.on_routing = [&](int layer, std::int64_t s, cull::routing<> const& ours) {
    auto const ids = answer.values<std::int32_t>(numbered("topk_ids", layer, s));
    auto const weights = answer.values<float>(numbered("topk_weights", layer, s));
    REQUIRE(ids.size() == static_cast<std::size_t>(ours.ids.rows() * ours.ids.cols()));
    for (std::int64_t t = 0; t < ours.ids.rows(); ++t, ++rows_seen) {
      for (std::int64_t j = 0; j < ours.ids.cols(); ++j) {
        auto const at = static_cast<std::size_t>(t * ours.ids.cols() + j);
        other_experts += ours.ids(t, j) != ids[at] ? 1 : 0;
        weight_error =
            std::max(weight_error, std::abs(static_cast<double>(ours.weights(t, j)) - static_cast<double>(weights[at])));
      }
    }
  };
  engine::decoder decoder{fixture::model(), cull::on_cpu{2}, {.batch_tokens = 100}};
  auto const counters = decoder.run(sequences, hooks);
  CHECK(counters.tokens == 486);
  CHECK(counters.batches == 6 * 5);
  CHECK(rows_seen == 4 * 486 + 481);
  CHECK(other_experts == 0);
  CHECK(weight_error < 2e-6);
  CHECK(hidden_error < 1e-6);
  CHECK(logits_error < 1e-6);
  CHECK(mtp_error < 1e-6);
  MESSAGE("logits " << logits_error << ", MTP " << mtp_error << ", hidden " << hidden_error << ", gates " << weight_error);
}

TEST_CASE("sparse attention: with index_topk 24 the picked positions and the logits are transformers'") {
  fixture::oracle const answer{"forward-index_topk-24"};
  auto const sequences = answer.sequences();
  REQUIRE(sequences.size() == 3);
  double logits_error = 0, mtp_error = 0;
  std::int64_t rows_seen = 0, other_rows = 0;
  std::set<int> layers;
  engine::layer_hooks hooks;
  hooks.on_logits = [&](std::int64_t s, auto logits) {
    logits_error = std::max(logits_error, fixture::relative_error(logits, answer.values<float>(numbered("logits", s))));
  };
  hooks.on_mtp_logits = [&](std::int64_t s, auto logits) {
    mtp_error = std::max(mtp_error, fixture::relative_error(logits, answer.values<float>(numbered("mtp_logits", s))));
  };
  hooks.on_indexer = [&](int layer, std::int64_t s, std::span<engine::picked_positions const> picks) {
    layers.insert(layer);
    auto const wanted = answer.values<std::int32_t>(numbered("indexer_topk", layer, s));
    REQUIRE(wanted.size() == picks.size() * 24);
    for (std::size_t t = 0; t < picks.size(); ++t) {
      CHECK(picks[t].empty() == (t < 24));
      if (picks[t].empty()) continue;
      ++rows_seen;
      other_rows += std::equal(picks[t].begin(), picks[t].end(), wanted.begin() + static_cast<std::ptrdiff_t>(t * 24)) ? 0 : 1;
    }
  };
  engine::decoder decoder{fixture::model(), cull::on_cpu{2}, {.batch_tokens = 50, .index_topk = 24}};
  decoder.run(sequences, hooks);
  CHECK(layers == std::set<int>{0, 1, 4, 5});
  CHECK(rows_seen == 3 * (118 + 31 + 6) + 117 + 30 + 5);
  CHECK(other_rows == 0);
  CHECK(logits_error < 1e-6);
  CHECK(mtp_error < 1e-6);
  MESSAGE("logits " << logits_error << ", MTP " << mtp_error);
}

TEST_CASE("forward: a sequence's logits are the same bits alone, in company, in any batches, on any threads") {
  auto all = fixture::oracle{"forward-index_topk-24"}.sequences();
  auto const logits_of = [&](std::span<engine::sequence const> sequences, std::int64_t which, cull::on_cpu exec,
                             std::int64_t batch) {
    std::vector<float> out;
    auto const keep = [&](std::int64_t s, cull::matrix_view<float const> logits) {
      if (s == which) out.insert(out.end(), logits.data(), logits.data() + logits.rows() * logits.cols());
    };
    engine::decoder decoder{fixture::model(), exec, {.batch_tokens = batch, .index_topk = 24}};
    decoder.run(sequences, {.on_logits = keep, .on_mtp_logits = keep});
    return out;
  };
  auto const wanted = logits_of(all, 1, {1}, 0);
  CHECK(wanted == logits_of(std::span{all}.subspan(1, 1), 0, {1}, 0));
  CHECK(wanted == logits_of(all, 1, {4}, 1));
  CHECK(wanted == logits_of(all, 1, {3}, 7));
}

TEST_CASE("forward: the bf16 policy is close to f32, and not it") {
  auto const sequences = fixture::oracle{"forward"}.sequences();
  fixture::oracle const answer{"forward"};
  engine::decoder decoder{fixture::model(), cull::on_cpu{2}, {.precision = engine::precision::bf16}};
  decoder.run(std::span{sequences}.subspan(2, 1), {.on_logits = [&](std::int64_t, auto logits) {
                double const error = fixture::relative_error(logits, answer.values<float>("logits.2"));
                CHECK(error > 1e-5);
                CHECK(error < 5e-2);
              }});
}

TEST_CASE("forward: one token alone, and ids that cannot be") {
  engine::decoder decoder{fixture::model(), cull::on_cpu{1}};
  std::int64_t rows = 0, mtp_rows = 0;
  engine::sequence one{.id = "one", .domain = "all", .ids = {256}, .weights = {}};
  decoder.run(std::span{&one, 1}, {.on_logits = [&](std::int64_t, auto logits) { rows += logits.rows(); },
                                   .on_mtp_logits = [&](std::int64_t, auto logits) { mtp_rows += logits.rows(); }});
  CHECK(rows == 1);
  CHECK(mtp_rows == 0);
  for (auto const& ids : {std::vector<int>{}, std::vector<int>{1, 272}, std::vector<int>{-1}}) {
    one.ids = ids;
    CHECK_THROWS_AS(decoder.run(std::span{&one, 1}, {}), cull::error);
  }
  CHECK_THROWS_AS((engine::decoder{fixture::model(), cull::on_cpu{1}, {.batch_tokens = -1}}), cull::error);
  CHECK_THROWS_AS((engine::decoder{fixture::model(), cull::on_cpu{1}, {.index_topk = 0}}), cull::error);
}
