// SPDX-License-Identifier: Apache-2.0
#include "fixture.hpp"

#include <engine/eval.hpp>

TEST_CASE("evaluate: nats by domain, MTP agreement, termination and answers are transformers'") {
  auto const wanted = fixture::json(fixture::root() / "oracle/quality.json").at("full");
  auto const got = engine::evaluate(fixture::model(), cull::on_cpu{0}, fixture::sequences("eval/heldout.jsonl"),
                                    engine::read_prompts(fixture::root() / "eval/prompts.jsonl", 272));
  REQUIRE(got.nats.size() == 5);
  for (auto const& [domain, nats] : got.nats) CHECK(std::abs(nats - wanted.at(domain).get<double>()) < 2e-6);
  REQUIRE((got.mtp_agreement && got.terminated && got.answer_correct));
  CHECK(std::abs(*got.mtp_agreement - wanted.at("mtp_agreement").get<double>()) < 1e-6);
  CHECK(*got.terminated == wanted.at("terminated").get<double>());
  CHECK(*got.answer_correct == wanted.at("answer_correct").get<double>());
}

TEST_CASE("terminated and correct: by their definitions") {
  engine::eval_options const options;
  auto const terminated = [&](std::vector<int> const& ids) { return engine::is_terminated(ids, options); };
  CHECK(terminated({65, 262, 66, 263}));
  CHECK_FALSE(terminated({65, 262}));
  CHECK_FALSE(terminated({65, 66, 263}));
  CHECK_FALSE(terminated({65, 262, 66, 260}));
  CHECK_FALSE(terminated({}));
  auto const correct = [&](std::vector<int> const& ids) { return engine::is_correct(ids, std::vector<int>{45, 49}, options); };
  CHECK(correct({65, 262, 45, 49, 263}));
  CHECK_FALSE(correct({65, 262, 45, 49, 260}));
  CHECK_FALSE(correct({65, 262, 45, 49}));
  CHECK_FALSE(correct({65, 262, 45, 263}));
  CHECK_FALSE(correct({262, 45, 49, 263, 263}));
  CHECK_FALSE(correct({262, 262, 45, 49, 263}));
  CHECK_FALSE(correct({45, 49, 263}));
}
