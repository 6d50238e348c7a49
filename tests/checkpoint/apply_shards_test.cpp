// SPDX-License-Identifier: Apache-2.0
// How apply cuts a model into shards.
#include <doctest/doctest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "pruned_tensors.hpp"

using namespace checkpoint_test;

namespace apply_shards_tests {
namespace {

std::uint64_t data_bytes(fs::path const& shard) {
  std::uint64_t out = 0;
  for (auto const& [name, t] : test_support::read_safetensors(shard.string())) out += t.bytes.size();
  return out;
}

std::vector<std::string> shard_names(fs::path const& dir) {
  std::vector<std::string> out;
  for (auto const& [name, text] : contents(dir)) {
    if (name.ends_with(".safetensors")) out.push_back(name);
  }
  return out;
}

}  // namespace
}  // namespace apply_shards_tests

using namespace apply_shards_tests;

TEST_CASE(
    "apply: shards of a given size, as greedily as can be; one shard "
    "needs no index") {
  scratch_folder const folder;
  auto plan = oracle_plan();
  plan.shard_bytes = 700'000;
  cull::apply(model(), plan, folder / "cut");
  check_tensors(pruned_tensors(plan), folder / "cut");
  auto const names = shard_names(folder / "cut");
  REQUIRE(names.size() >= 7);
  for (std::size_t i = 0; i < names.size(); ++i) {
    char wanted[64];
    std::snprintf(wanted, sizeof wanted, "model-%05zu-of-%05zu.safetensors", i + 1, names.size());
    CHECK(names[i] == wanted);
    CHECK(data_bytes(folder / "cut" / names[i]) <= 700'000);
    // The next tensor would not have fitted: the largest of this model has
    // 278,528 bytes.
    if (i + 1 < names.size()) CHECK(data_bytes(folder / "cut" / names[i]) > 700'000 - 278'528);
  }
  CHECK(cull::load_plan(folder / "cut/cull-plan.json").shard_bytes == 700'000);
  CHECK(cull::find_differences(model(), plan, folder / "cut").failures.empty());
  CHECK_FALSE(cull::find_differences(model(), oracle_plan(), folder / "cut").failures.empty());

  plan.shard_bytes = 1'000'000'000;
  cull::apply(model(), plan, folder / "one");
  CHECK(shard_names(folder / "one") == std::vector<std::string>{"model.safetensors"});
  CHECK_FALSE(fs::exists(folder / "one/model.safetensors.index.json"));
  CHECK(cull::find_differences(model(), plan, folder / "one").failures.empty());
  CHECK(all_tensors(folder / "one").size() == pruned_tensors(plan).size());

  auto const single = cull::checkpoint::open(folder / "one");
  cull::pruning_plan all;
  for (auto const& [layer, kept] : plan.layers) all.layers[layer] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  all.shard_bytes = 1'000'000;
  cull::apply(single, all, folder / "again");
  CHECK(shard_names(folder / "again").size() > 1);
  CHECK(cull::find_differences(single, all, folder / "again").failures.empty());
}

TEST_CASE("apply: no shard has a header that the hub does not read; what cannot be helped is said") {
  scratch_folder const folder;
  fs::create_directory(folder / "m");
  write_small_model(folder / "small");
  spill(folder / "m/config.json", slurp(folder / "small/config.json"));
  auto const tensors = all_tensors(folder / "small");
  std::vector<cull::tensor_source> sources;
  for (auto const& [name, t] : tensors)
    sources.push_back({name, *cull::dtype_by_name(t.dtype), {t.shape.begin(), t.shape.end()}, std::as_bytes(std::span{t.bytes})});
  // 6,400 names of 4,000 bytes: a header of 25.8 MB.
  std::vector<std::byte> const byte(1);
  for (int i = 0; i < 6400; ++i)
    sources.push_back({std::string(3990, i % 2 == 0 ? 'n' : '\\') + std::to_string(i), cull::dtype::u8, {1}, byte});
  cull::write_safetensors(folder / "m/model.safetensors", {{"format", "pt"}}, sources);
  auto const model = cull::checkpoint::open(folder / "m");
  cull::pruning_plan plan;
  plan.layers[0] = {0, 2};
  auto const problem = failure_of([&] { cull::prepare(model, plan); });
  CHECK(problem.code() == cull::errc::header_too_large);
  CHECK(problem.where().file == "model.safetensors");
  CHECK(mentions(problem.what(), "readers take 25000000; use more shards (--shard-size)"));

  plan.shard_bytes = 1'000'000'000;
  cull::apply(model, plan, folder / "out");
  auto const names = shard_names(folder / "out");
  REQUIRE(names.size() == 2);
  std::uint64_t largest = 0;
  for (auto const& name : names) {
    auto const text = slurp(folder / "out" / name).substr(0, 8);
    std::uint64_t header = 0;
    std::memcpy(&header, text.data(), sizeof header);
    CHECK(header <= 25'000'000);
    largest = std::max(largest, header);
  }
  // Filled, but for digits that offsets might have had.
  CHECK(largest > 24'800'000);
  CHECK(cull::find_differences(model, plan, folder / "out").failures.empty());
}

TEST_CASE(
    "apply: a shard that has lost all its tensors vanishes and the "
    "numbers close up") {
  scratch_folder const folder;
  copy_tree(model_dir(), folder / "m");
  std::map<std::string, std::vector<cull::tensor_source>> groups;
  auto const tensors = all_tensors(model_dir());
  nlohmann::json index{{"metadata", {{"total_size", 0}}}};
  for (auto const& [name, t] : tensors) {
    auto const shard = name.starts_with("model.layers.5.")  ? "model-00002-of-00004.safetensors"
                       : name.starts_with("lm_head")        ? "head.safetensors"
                       : name.starts_with("model.layers.4") ? "model-00004-of-00004.safetensors"
                       : name.starts_with("model.layers.3") ? "model-00003-of-00004.safetensors"
                                                            : "model-00001-of-00004.safetensors";
    groups[shard].push_back(
        {name, *cull::dtype_by_name(t.dtype), {t.shape.begin(), t.shape.end()}, std::as_bytes(std::span{t.bytes})});
    index["weight_map"][name] = shard;
  }
  for (auto const& name : shard_names(folder / "m")) fs::remove(folder / "m" / name);
  for (auto const& [name, list] : groups) cull::write_safetensors(folder / "m" / name, {{"format", "pt"}}, list);
  spill(folder / "m/model.safetensors.index.json", index.dump());
  auto const split = cull::checkpoint::open(folder / "m");
  auto plan = oracle_plan();
  plan.mtp = cull::mtp_policy::drop();
  cull::apply(split, plan, folder / "out");
  CHECK(shard_names(folder / "out") == std::vector<std::string>{"head.safetensors", "model-00001-of-00003.safetensors",
                                                                "model-00002-of-00003.safetensors",
                                                                "model-00003-of-00003.safetensors"});
  check_tensors(pruned_tensors(plan, false), folder / "out");
  CHECK(cull::find_differences(split, plan, folder / "out").failures.empty());
  fs::rename(folder / "out/head.safetensors", folder / "out/heads.safetensors");
  CHECK_FALSE(cull::find_differences(split, plan, folder / "out").failures.empty());
}
