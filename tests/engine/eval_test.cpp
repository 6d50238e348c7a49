// SPDX-License-Identifier: Apache-2.0
#include "fixture.hpp"

#include <algorithm>

#include <engine/eval.hpp>

namespace {

/// The keep-sets behind an entry of quality.json, such as "reap-code" or "random".
cull::pruning_plan plan_of(std::string const& variant) {
  auto const keep = fixture::json(fixture::root() / "oracle/keep.json");
  auto const dash = variant.find('-');
  auto const& sets =
      dash == std::string::npos ? keep.at(variant) : keep.at("sets").at(variant.substr(dash + 1)).at(variant.substr(0, dash));
  cull::pruning_plan plan;
  for (std::size_t i = 0; i < sets.size(); ++i)
    plan.layers[keep.at("layers").at(i).get<int>()] = sets.at(i).get<std::vector<int>>();
  return plan;
}

void check_quality(cull::checkpoint const& model, std::string const& variant) {
  CAPTURE(variant);
  auto const wanted = fixture::json(fixture::root() / "oracle/quality.json").at(variant);
  auto const got = engine::evaluate(model, cull::on_cpu{0}, fixture::sequences("eval/heldout.jsonl"),
                                    engine::read_prompts(fixture::root() / "eval/prompts.jsonl", 272), {.drafts = 0});
  REQUIRE(got.nats.size() == 5);
  double worst = 0;
  for (auto const& [domain, nats] : got.nats) worst = std::max(worst, std::abs(nats.value - wanted.at(domain).get<double>()));
  CHECK(worst < 1e-5);
  REQUIRE((got.mtp_agreement && got.terminated && got.answer_correct));
  double const agreement = std::abs(got.mtp_agreement->value - wanted.at("mtp_agreement").get<double>());
  CHECK(agreement < 1e-4);
  CHECK(std::abs(got.terminated->value - wanted.at("terminated").get<double>()) < 0.0101);
  CHECK(std::abs(got.answer_correct->value - wanted.at("answer_correct").get<double>()) < 0.0101);
  MESSAGE(variant << ": nats off by " << worst << ", MTP agreement by " << agreement << ", terminated " << got.terminated->value
                  << ", correct " << got.answer_correct->value);
}

}  // namespace

TEST_CASE("evaluate: the full model's quality is what torch measured") { check_quality(fixture::model(), "full"); }

TEST_CASE("evaluate: pruned directories have the quality that torch measured after pruning in memory") {
  for (auto const variant : {"reap-code", "reap-term", "frequency-code", "frequency-term", "random"}) {
    fixture::scratch_folder const folder;
    cull::apply(fixture::model(), plan_of(variant), folder.path());
    check_quality(cull::checkpoint::open(folder.path()), variant);
  }
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
