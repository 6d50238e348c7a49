// SPDX-License-Identifier: Apache-2.0
#include "fixture.hpp"

#include <map>

#include <engine/generate.hpp>

namespace {

std::vector<engine::prompt> prompts(std::size_t count) {
  auto all = engine::read_prompts(fixture::root() / "eval/prompts.jsonl", 272);
  all.resize(count);
  return all;
}

std::vector<std::vector<int>> ids(std::vector<engine::trace> const& traces) {
  std::vector<std::vector<int>> out;
  for (auto const& each : traces) out.push_back(each.ids);
  return out;
}

}  // namespace

TEST_CASE("generate: cached logits are the bits of the full forward, dense and sparse") {
  for (std::int64_t const topk : {512, 24}) {
    auto const from = prompts(3);
    std::map<std::pair<std::size_t, std::int64_t>, std::vector<float>> cached;
    engine::generate_options options{.index_topk = topk};
    options.on_logits = [&](std::size_t prompt, std::int64_t position, cull::array_view<float const> logits) {
      cached[{prompt, position}] = {logits.begin(), logits.end()};
    };
    auto const traces =
        engine::generate(fixture::model(), cull::on_cpu{2}, from, {.max_tokens = 30, .stop = {263, 260}}, options);
    std::vector<engine::sequence> sequences;
    for (auto const& each : traces) sequences.push_back({.id = each.id, .domain = "all", .ids = each.ids, .weights = {}});
    std::size_t compared = 0;
    engine::decoder decoder{fixture::model(), cull::on_cpu{1}, {.index_topk = topk}};
    decoder.run(sequences, {.on_logits = [&](std::int64_t s, cull::matrix_view<float const> logits) {
                  for (std::int64_t t = 0; t < logits.rows(); ++t) {
                    auto const found = cached.find({static_cast<std::size_t>(s), t});
                    if (found == cached.end()) continue;
                    ++compared;
                    CHECK(std::memcmp(found->second.data(), logits.row(t).data(), found->second.size() * sizeof(float)) == 0);
                  }
                }});
    CHECK(compared == cached.size());
    CHECK(compared > 30);
  }
}

TEST_CASE("generate: greedy traces end where they must") {
  auto const from = prompts(4);
  auto const traces = engine::generate(fixture::model(), cull::on_cpu{2}, from, {.max_tokens = 25, .stop = {263, 260}});
  REQUIRE(traces.size() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    auto const& each = traces[i];
    CHECK(each.id == from[i].id);
    CHECK(each.ids.size() == from[i].ids.size() + each.new_ids.size());
    bool const stopped = each.new_ids.back() == 263 || each.new_ids.back() == 260;
    CHECK(stopped == (each.finish == engine::finish_reason::stop));
    if (!stopped) CHECK(each.new_ids.size() == 25);
    for (std::size_t t = 0; t + 1 < each.new_ids.size(); ++t) CHECK((each.new_ids[t] != 263 && each.new_ids[t] != 260));
  }
  CHECK(engine::generate(fixture::model(), cull::on_cpu{1}, from, {.max_tokens = 0})[0].new_ids.empty());
}

TEST_CASE("generate: samples follow the seed, not the threads or the company") {
  auto const from = prompts(4);
  engine::sampling const warm{.temperature = 1.2, .top_p = 0.95, .seed = 11, .max_tokens = 20};
  auto const first = ids(engine::generate(fixture::model(), cull::on_cpu{1}, from, warm));
  CHECK(first == ids(engine::generate(fixture::model(), cull::on_cpu{3}, from, warm, {.prompts_at_once = 1})));
  CHECK(first == ids(engine::generate(fixture::model(), cull::on_cpu{2}, from, warm, {.prompts_at_once = 3})));
  auto other = warm;
  other.seed = 12;
  CHECK(first != ids(engine::generate(fixture::model(), cull::on_cpu{1}, from, other)));
}
