// SPDX-License-Identifier: Apache-2.0
// Plans with another number of experts in every layer, for families whose config.json can say so.
#include <doctest/doctest.h>

#include <numeric>

#include "scratch.hpp"

namespace {

using namespace checkpoint_test;
using json = nlohmann::json;

std::vector<int> every_other(int count) {
  std::vector<int> out;
  for (int i = 0; i < count; ++i) out.push_back(2 * i);
  return out;
}

/// GLM for an engine that reads one number per layer.
cull::checkpoint open_glm(fs::path const& dir, fs::path const& scratch) {
  spill(scratch, R"({"like": "glm_moe_dsa", "model_type": ["glm_moe_dsa"], "keys": {"layers": ["num_hidden_layers"],
    "mtp": "num_nextn_predict_layers", "experts": ["n_routed_experts", "num_experts", "num_local_experts"],
    "experts_per_layer": "num_routed_experts_per_layer"}})");
  return cull::checkpoint::open(dir, {.family = cull::load_family(scratch)});
}

/// Every tensor of a kept expert has its source's bytes under its new number.
void check_moved(cull::pruning_plan const& plan, fs::path const& from, fs::path const& to, std::string const& part) {
  auto const before = all_tensors(from), after = all_tensors(to);
  for (auto const& [layer, kept] : plan.layers) {
    auto const prefix = "model.layers." + std::to_string(layer) + ".mlp.experts.";
    for (std::size_t now = 0; now < kept.size(); ++now) {
      CHECK(after.at(prefix + std::to_string(now) + part).bytes == before.at(prefix + std::to_string(kept[now]) + part).bytes);
    }
    CHECK_FALSE(after.contains(prefix + std::to_string(kept.size()) + part));
  }
}

}  // namespace

TEST_CASE("uneven: HunYuan's own list of counts") {
  auto const dir = fs::path{CULL_TEST_DATA} / "families/hunyuan_v1_moe/model";
  auto const model = cull::checkpoint::open(dir);
  cull::pruning_plan plan;
  int count = model.router().top_k;
  for (int const layer : model.moe_layers()) plan.layers[layer] = every_other(count++);
  REQUIRE(plan.layers.size() > 1);
  scratch_folder const folder;
  auto const report = cull::apply(model, plan, folder / "out");
  CHECK(report.bytes == cull::predict_written(model, plan));
  CHECK(cull::find_differences(model, plan, folder / "out").failures.empty());
  check_moved(plan, dir, folder / "out", ".up_proj.weight");
  auto const config = json::parse(slurp(folder / "out/config.json"));
  REQUIRE(config.at("num_experts").is_array());
  for (auto const& [layer, kept] : plan.layers)
    CHECK(config.at("num_experts").at(static_cast<std::size_t>(layer)) == kept.size());
  auto const out = cull::checkpoint::open(folder / "out");
  for (auto const& [layer, kept] : plan.layers) {
    CHECK(out.experts(layer) == static_cast<int>(kept.size()));
    CHECK(out.moe_layer(layer).experts.size() == kept.size());
  }
  CHECK(out.experts() == count - 1);

  // A wrong number in the list is found.
  auto wrong = config;
  wrong["num_experts"][0] = wrong["num_experts"][0].get<int>() + 1;
  spill(folder / "out/config.json", wrong.dump(2));
  CHECK_FALSE(cull::find_differences(model, plan, folder / "out").failures.empty());
  CHECK(code_of([&] { cull::checkpoint::open(folder / "out"); }) == cull::errc::bad_config);
}

TEST_CASE("uneven: a key that the config does not have yet, and from uneven to even again") {
  scratch_folder const folder;
  auto const model = open_glm(model_dir(), folder / "family.json");
  cull::pruning_plan plan;
  for (int const layer : model.moe_layers()) plan.layers[layer] = every_other(8 * layer - (layer == 5 ? 8 : 0));
  cull::apply(model, plan, folder / "out");
  CHECK(cull::find_differences(model, plan, folder / "out").failures.empty());
  check_moved(plan, model_dir(), folder / "out", ".down_proj.weight_scale");
  auto config = json::parse(slurp(folder / "out/config.json"));
  CHECK(config.at("num_routed_experts_per_layer") == json{0, 8, 16, 24, 32, 32});
  CHECK(config.at("n_routed_experts") == 32);
  CHECK(config.at("num_experts") == 32);
  auto original = json::parse(slurp(model_dir() / "config.json"));
  config.erase("num_routed_experts_per_layer");
  original["n_routed_experts"] = original["num_experts"] = 32;
  CHECK(config == original);

  auto const uneven = open_glm(folder / "out", folder / "family.json");
  CHECK(uneven.expert_counts() == std::vector<int>{8, 16, 24, 32, 32});
  CHECK(uneven.moe_layer(2).experts.size() == 16);
  cull::pruning_plan even;
  for (int const layer : uneven.moe_layers()) even.layers[layer] = {0, 1, 2, 3, 4, 5, 6, 7};
  even.mtp = cull::mtp_policy::drop();
  cull::apply(uneven, even, folder / "even");
  CHECK(cull::find_differences(uneven, even, folder / "even").failures.empty());
  auto const again = json::parse(slurp(folder / "even/config.json"));
  CHECK(again.at("num_routed_experts_per_layer") == json{0, 8, 8, 8, 8});
  CHECK(again.at("n_routed_experts") == 8);
  even.layers[1] = {0, 1, 2, 3, 4, 5, 6, 8};
  CHECK(code_of([&] { cull::keep_sets(uneven, even); }) == cull::errc::bad_plan);
}

TEST_CASE("uneven: refused where config.json has one number") {
  auto const model = cull::checkpoint::open(model_dir());
  cull::pruning_plan plan;
  for (int const layer : model.moe_layers()) plan.layers[layer] = every_other(8 + layer);
  auto const problem = failure_of([&] { cull::keep_sets(model, plan); });
  CHECK(problem.code() == cull::errc::bad_plan);
  CHECK(mentions(problem.what(), "one number for all"));
}
