// SPDX-License-Identifier: Apache-2.0
// Checkpoints that cull has pruned against transformers' forward of the model pruned in memory.
#include "fixture.hpp"

#include <engine/decoder.hpp>

namespace {

cull::pruning_plan reap_plan(std::string const& set) {
  auto const keep = fixture::json(fixture::root() / "oracle/keep.json");
  cull::pruning_plan plan;
  for (std::size_t i = 0; i < keep.at("layers").size(); ++i) {
    plan.layers[keep.at("layers").at(i).get<int>()] = keep.at("sets").at(set).at("reap").at(i).get<std::vector<int>>();
  }
  return plan;
}

void check_pruned(std::string const& set) {
  fixture::scratch_folder const folder;
  cull::apply(fixture::model(), reap_plan(set), folder.path());
  auto const pruned = cull::checkpoint::open(folder.path());
  CHECK(pruned.experts() == 42);
  fixture::oracle const answer{"forward-reap-" + set};
  double logits_error = 1, mtp_error = 1;
  engine::decoder decoder{pruned, cull::on_cpu{2}};
  decoder.run(
      answer.sequences(),
      {.on_logits = [&](std::int64_t,
                        auto logits) { logits_error = fixture::relative_error(logits, answer.values<float>("logits")); },
       .on_mtp_logits = [&](std::int64_t,
                            auto logits) { mtp_error = fixture::relative_error(logits, answer.values<float>("mtp_logits")); }});
  CHECK(logits_error < 1e-6);
  CHECK(mtp_error < 1e-6);
  MESSAGE(set << ": logits " << logits_error << ", MTP " << mtp_error);
}

}  // namespace

TEST_CASE("pruned checkpoint: REAP on code gives transformers' logits") { check_pruned("code"); }
TEST_CASE("pruned checkpoint: REAP on term gives transformers' logits") { check_pruned("term"); }
