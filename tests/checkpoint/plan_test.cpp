// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "scratch.hpp"

namespace {

using namespace checkpoint_test;

std::vector<int> first(int count) {
  std::vector<int> out(static_cast<std::size_t>(count));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

cull::pruning_plan uniform(int count) {
  cull::pruning_plan plan;
  for (int const layer : model().moe_layers()) plan.layers[layer] = first(count);
  return plan;
}

void refused(cull::pruning_plan const& plan, std::string const& says) {
  auto const problem = failure_of([&] { cull::keep_sets(model(), plan); });
  CHECK(problem.code() == cull::errc::bad_plan);
  CHECK_MESSAGE(mentions(problem.what(), says), std::string{problem.what()});
}

cull::error parse_failure(std::string const& text) {
  return failure_of([&] { cull::parse_plan(text, "p.json"); });
}

}  // namespace

TEST_CASE("keep_sets: what does not fit the model is refused with the layer's number") {
  CHECK(cull::keep_sets(model(), uniform(42)).size() == 5);
  auto plan = uniform(42);
  plan.layers[3].back() = 64;
  refused(plan, "layer 3: expert 64");
  plan = uniform(42);
  std::swap(plan.layers[2][0], plan.layers[2][1]);
  refused(plan, "layer 2: ids must ascend");
  plan = uniform(42);
  plan.layers[2][1] = 0;
  refused(plan, "layer 2: ids must ascend");
  plan = uniform(42);
  plan.layers[4].pop_back();
  refused(plan, "layer 4 keeps 41");
  refused(uniform(7), "too few");
  plan = uniform(42);
  plan.layers.erase(4);
  refused(plan, "layer 4 is missing");
  plan = uniform(42);
  plan.layers.erase(5);
  refused(plan, "MTP policy");
  plan = uniform(42);
  plan.layers[0] = first(42);
  refused(plan, "layer 0 has no routed experts");
  plan = uniform(42);
  plan.model_digest = "0123";
  refused(plan, "another model");
  plan.model_digest = model().digest();
  CHECK(cull::keep_sets(model(), plan).at(5) == first(42));
}

TEST_CASE("keep_sets: groups that do not divide the experts are refused, and the largest numbers do no harm") {
  scratch_folder const folder;
  fs::copy(model_dir(), folder / "model");
  auto config = nlohmann::json::parse(slurp(model_dir() / "config.json"));
  auto const says = [&](int groups, int top_k) {
    config["n_group"] = config["topk_group"] = groups;
    config["num_experts_per_tok"] = top_k;
    spill(folder / "model/config.json", config.dump());
    auto const grouped = cull::checkpoint::open(folder / "model");
    return failure_of([&] { cull::keep_sets(grouped, uniform(60)); });
  };
  for (int const groups : {3, 5, 7, 48}) {
    auto const problem = says(groups, 8);
    CHECK(problem.code() == cull::errc::bad_plan);
    CHECK_MESSAGE(mentions(problem.what(), "64 experts do not divide into its router's " + std::to_string(groups)),
                  std::string{problem.what()});
  }
  int const largest = 65536;
  CHECK(mentions(says(largest, 1).what(), "too few"));
  CHECK(mentions(says(largest, largest).what(), "too few"));
  CHECK(mentions(says(1, largest).what(), "too few"));
  CHECK(mentions(says(64, 8).what(), "too few"));
  CHECK(mentions(says(2, 8).what(), "same number"));
}

TEST_CASE("keep_sets: MTP by its own scores, dropped, or as another layer") {
  auto plan = uniform(10);
  plan.layers[5] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 63};
  CHECK(cull::keep_sets(model(), plan).at(5) == plan.layers[5]);
  plan.mtp = cull::mtp_policy::copy(4);
  CHECK(cull::keep_sets(model(), plan).at(5) == first(10));
  plan.layers.erase(5);
  CHECK(cull::keep_sets(model(), plan).at(5) == first(10));
  plan.mtp = cull::mtp_policy::drop();
  CHECK_FALSE(cull::keep_sets(model(), plan).contains(5));
  plan.mtp = cull::mtp_policy::copy(9);
  refused(plan, "layer 9 is missing");
}

TEST_CASE("plan: from a selection, with the cuts") {
  cull::default_observation const seen{cull::observation_layout{.layers = model().moe_layers(), .experts = 64}};
  auto const chosen = cull::select(seen, cull::reap, cull::keep{42});
  auto const plan = cull::plan(model(), chosen, {.criterion = "reap"});
  CHECK(plan.model_digest == model().digest());
  CHECK(plan.layers.size() == 5);
  CHECK(plan.layers.at(3) == first(42));
  CHECK(plan.notes.at(3).never_chosen == first(64));
  CHECK(plan.notes.at(3).tied == first(64));
  CHECK(cull::plan(model(), chosen, {.mtp = cull::mtp_policy::drop()}).layers.size() == 4);
  CHECK(code_of([&] { cull::plan(model(), cull::select(seen, cull::reap, cull::keep{5})); }) == cull::errc::bad_plan);
}

TEST_CASE("plan files: the same plan is the same text, and reads back") {
  auto plan = uniform(42);
  plan.criterion = "reap";
  plan.model_digest = model().digest();
  plan.mtp = cull::mtp_policy::copy(4);
  plan.notes[1] = {0.1, {2, 3}, {}};
  plan.notes[2] = {std::numeric_limits<double>::infinity(), {}, {63}};
  auto const text = cull::to_json(plan);
  auto const read = cull::parse_plan(text, "p.json");
  CHECK(cull::to_json(read) == text);
  CHECK(read.layers == plan.layers);
  CHECK(read.criterion == "reap");
  CHECK(read.mtp == plan.mtp);
  CHECK(read.model_digest == plan.model_digest);
  CHECK(read.notes.at(1).margin == 0.1);
  CHECK(read.notes.at(1).tied == std::vector<int>{2, 3});
  CHECK(std::isinf(read.notes.at(2).margin));
  auto const json = nlohmann::json::parse(text);
  CHECK(json.at("format") == "cull-plan");
  CHECK(json.at("layers").at("3") == nlohmann::json(first(42)));
  scratch_folder const folder;
  cull::save(plan, folder / "p.json");
  CHECK(slurp(folder / "p.json") == text);
  CHECK(code_of([&] { cull::save(plan, folder / "p.json"); }) == cull::errc::already_exists);
  CHECK(code_of([&] { cull::load_plan(folder / "q.json"); }) == cull::errc::not_found);
}

TEST_CASE("plan files: one made by hand needs layers only; nonsense is refused") {
  auto const read = cull::parse_plan("{\"layers\": {\"1\": [0, 2], \"10\": [1, 3]}}", "p.json");
  CHECK(read.layers == std::map<int, std::vector<int>>{{1, {0, 2}}, {10, {1, 3}}});
  CHECK(read.mtp == cull::mtp_policy::own());
  for (auto const text :
       {"[]", "{}", "{\"layers\": []}", "{\"layers\": {\"a\": [0]}}", "{\"layers\": {\"01\": [0]}}",
        "{\"layers\": {\"-1\": [0]}}", "{\"layers\": {\"1\": 3}}", "{\"layers\": {\"1\": [\"0\"]}}",
        "{\"layers\": {\"1\": [0.5]}}", "{\"layers\": {\"1\": [-1]}}", "{\"layers\": {}, \"mtp\": \"keep\"}",
        "{\"layers\": {}, \"mtp\": \"copy:\"}", "{\"layers\": {}, \"mtp\": \"copy:1x\"}", "{\"layers\": {}, \"version\": 2}",
        "{\"layers\": {}, \"format\": \"other\"}", "{\"layers\": {}, \"criterion\": 1}"}) {
    CAPTURE(text);
    CHECK(parse_failure(text).code() == cull::errc::bad_plan);
    CHECK(parse_failure(text).where().file == (mentions(text, "mtp") ? "" : "p.json"));
  }
  for (auto const text : {"", "{", "7"}) CHECK(parse_failure(text).code() == cull::errc::json_syntax);
  CHECK(parse_failure("{\"layers\": {\"1\": [0], \"1\": [1]}}").code() == cull::errc::duplicate_key);
  CHECK(parse_failure("{\"layers\": {}} x").code() == cull::errc::json_trailing);
}

TEST_CASE("plan files: one that was changed after it was saved is refused, one without a checksum is taken") {
  auto const made = oracle_plan();
  auto const text = cull::to_json(made);
  CHECK(cull::parse_plan(text, "p.json").layers == made.layers);
  auto const spaced = nlohmann::ordered_json::parse(text).dump(7);
  CHECK(cull::parse_plan(spaced, "p.json").layers == made.layers);
  auto json = nlohmann::json::parse(text);
  auto const refused = [&](char const* member, nlohmann::json const& value) {
    auto changed = json;
    changed[member] = value;
    auto const with = code_of([&] { cull::parse_plan(changed.dump(), "p.json"); });
    changed.erase("checksum");
    cull::parse_plan(changed.dump(), "p.json");
    return with == cull::errc::bad_checksum;
  };
  CHECK(refused("layers", {{"1", {0, 1, 2}}}));
  CHECK(refused("criterion", "other"));
  CHECK(refused("model_digest", "0123"));
  CHECK(refused("data_digest", "0123"));
  CHECK(refused("mtp", "drop"));
  CHECK(refused("checksum", std::string(32, '0')));
}
