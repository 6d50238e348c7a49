// SPDX-License-Identifier: Apache-2.0
// What apply writes, read back by a reader that shares nothing with it.
#include <doctest/doctest.h>

#include <cstring>
#include <numeric>
#include <regex>

#include "pruned_tensors.hpp"

using namespace checkpoint_test;

TEST_CASE(
    "apply: every surviving tensor has its source's bytes, everything "
    "else is copied, twice the same directory") {
  scratch_folder const folder;
  auto const plan = oracle_plan();
  auto const report = cull::apply(model(), plan, folder / "a");
  auto const wanted = pruned_tensors(plan);
  auto const written = all_tensors(folder / "a");
  REQUIRE(written.size() == wanted.size());
  std::int64_t different = 0;
  for (auto const& [name, t] : wanted) different += written.contains(name) && same_tensor(written.at(name), t) ? 0 : 1;
  CHECK(different == 0);

  auto const source = contents(model_dir()), first = contents(folder / "a");
  CHECK(first.at("generation_config.json") == source.at("generation_config.json"));
  CHECK(first.at("hf_quant_config.json") == source.at("hf_quant_config.json"));
  CHECK(report.files.size() == first.size());
  std::uint64_t bytes = 0;
  for (auto const& f : report.files) {
    CHECK(first.at(f.name).size() == f.bytes);
    bytes += f.bytes;
  }
  CHECK(report.bytes == bytes);
  auto const index = nlohmann::json::parse(first.at("model.safetensors.index.json"));
  auto const ledger = cull::predict(model(), plan);
  CHECK(index.at("metadata").at("total_size") == ledger.bytes);
  std::uint64_t total = 0;
  for (auto const& [name, t] : written) total += t.bytes.size();
  CHECK(ledger.bytes == total);
  CHECK(ledger.tensors == static_cast<std::int64_t>(written.size()));
  CHECK(index.at("weight_map").size() == written.size());
  for (auto const& [name, shard] : index.at("weight_map").items()) CHECK(written.contains(name));

  cull::apply(model(), plan, folder / "b");
  CHECK(contents(folder / "b") == first);
}

TEST_CASE("apply: keeping every expert gives the source's tensors and config") {
  scratch_folder const folder;
  cull::pruning_plan plan;
  for (int const layer : model().moe_layers()) {
    plan.layers[layer].resize(64);
    std::iota(plan.layers[layer].begin(), plan.layers[layer].end(), 0);
  }
  cull::apply(model(), plan, folder / "all");
  auto const wanted = all_tensors(model_dir()), written = all_tensors(folder / "all");
  REQUIRE(written.size() == wanted.size());
  for (auto const& [name, t] : wanted) REQUIRE(same_tensor(written.at(name), t));
  CHECK(slurp(folder / "all/config.json") == slurp(model_dir() / "config.json"));
  CHECK(slurp(folder / "all/model.safetensors.index.json").size() == slurp(model_dir() / "model.safetensors.index.json").size());
}

TEST_CASE("apply: MTP dropped, or pruned by another layer's keep-set") {
  scratch_folder const folder;
  auto plan = oracle_plan();
  plan.mtp = cull::mtp_policy::drop();
  cull::apply(model(), plan, folder / "drop");
  check_tensors(pruned_tensors(plan, false), folder / "drop");
  auto const config = nlohmann::json::parse(slurp(folder / "drop/config.json"));
  CHECK(config.at("num_nextn_predict_layers") == 0);
  CHECK(cull::checkpoint::open(folder / "drop").mtp_layers().empty());
  CHECK(cull::find_differences(model(), plan, folder / "drop").failures.empty());

  plan.mtp = cull::mtp_policy::copy(2);
  cull::apply(model(), plan, folder / "copy");
  auto as_layer_two = plan;
  as_layer_two.layers[5] = plan.layers[2];
  check_tensors(pruned_tensors(as_layer_two), folder / "copy");
  CHECK(cull::find_differences(model(), plan, folder / "copy").failures.empty());
}

TEST_CASE(
    "apply: side files travel, hidden ones and foreign weights do not; "
    "one file without an index stays one") {
  scratch_folder const folder;
  auto const tensors = all_tensors(model_dir());
  fs::create_directories(folder / "m/templates");
  fs::create_directories(folder / "m/.git");
  std::vector<cull::tensor_source> sources;
  for (auto const& [name, t] : tensors)
    sources.push_back({name, *cull::dtype_by_name(t.dtype), {t.shape.begin(), t.shape.end()}, std::as_bytes(std::span{t.bytes})});
  cull::write_safetensors(folder / "m/model.safetensors", {}, sources);
  spill(folder / "m/config.json", slurp(model_dir() / "config.json"));
  spill(folder / "m/tokenizer.json", "{}");
  spill(folder / "m/templates/chat.jinja", "hello");
  spill(folder / "m/.git/HEAD", "x");
  spill(folder / "m/consolidated.pth", "weights");
  auto const single = cull::checkpoint::open(folder / "m");
  auto const report = cull::apply(single, oracle_plan(), folder / "out");
  std::vector<std::string> names;
  for (auto const& [name, text] : contents(folder / "out")) names.push_back(name);
  CHECK(names == std::vector<std::string>{"config.json", "cull-manifest.json", "cull-plan.json", "model.safetensors",
                                          "templates/chat.jinja", "tokenizer.json"});
  CHECK(report.left_behind == std::vector<std::string>{"consolidated.pth"});
  CHECK(test_support::read_metadata((folder / "out/model.safetensors").string()) ==
        std::map<std::string, std::string>{{"format", "pt"}});
  CHECK(cull::find_differences(single, oracle_plan(), folder / "out").failures.empty());
  auto const written = all_tensors(folder / "out"), wanted = pruned_tensors(oracle_plan());
  REQUIRE(written.size() == wanted.size());
  for (auto const& [name, t] : wanted) REQUIRE(same_tensor(written.at(name), t));

  // What git has not downloaded would go with the model as it is.
  std::string const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
  for (std::string const name : {"tokenizer.json", "templates/chat.jinja"}) {
    auto const text = slurp(folder / "m" / name);
    spill(folder / "m" / name, pointer);
    auto const problem = failure_of([&] { cull::apply(single, oracle_plan(), folder / "pointed"); });
    CHECK(cull::name(problem.code()) == "not_found");
    CHECK(problem.where().file == (folder / "m" / name).string());
    CHECK(mentions(problem.what(), "run 'git lfs pull'"));
    spill(folder / "m" / name, text);
  }
  CHECK_FALSE(fs::exists(folder / "pointed.partial"));

  // A link out of the model would put another file's content into what may be published.
  spill(folder / "secret", "s");
  fs::create_symlink("../secret", folder / "m/notes.txt");
  auto const opened = [&](cull::leniency const& allowed) { return cull::checkpoint::open(folder / "m", {.allowed = allowed}); };
  CHECK(code_of([&] { cull::apply(opened({}), oracle_plan(), folder / "linked"); }) == cull::errc::outside_tree);
  CHECK_FALSE(fs::exists(folder / "linked.partial"));
  cull::apply(opened({.outside_links = true}), oracle_plan(), folder / "linked");
  CHECK(slurp(folder / "linked/notes.txt") == "s");
}

TEST_CASE(
    "apply: input scales at the layer's former maximum, where that is "
    "asked for") {
  scratch_folder const folder;
  auto plan = oracle_plan();
  std::map<std::string, float> widest, left;  // by layer and projection
  static std::regex const scale{R"((model\.layers\.(\d+)\.mlp\.experts\.)(\d+)(\..*\.input_scale))"};
  auto const value = [](test_support::tensor const& t) {
    float out = 0;
    std::memcpy(&out, t.bytes.data(), sizeof out);
    return out;
  };
  for (auto const& [name, t] : all_tensors(model_dir())) {
    std::smatch m;
    if (!std::regex_match(name, m, scale)) continue;
    auto const key = m[1].str() + m[4].str();
    auto const& kept = plan.layers.at(std::stoi(m[2]));
    widest[key] = std::max(widest[key], value(t));
    if (std::binary_search(kept.begin(), kept.end(), std::stoi(m[3]))) left[key] = std::max(left[key], value(t));
  }
  REQUIRE(widest.size() == 15);
  auto const lost = cull::lost_input_scales(model(), cull::keep_sets(model(), plan));
  std::size_t really = 0;
  for (auto const& [key, v] : widest) really += left.at(key) != v ? 1 : 0;
  CHECK(lost.size() == really);
  for (auto const& c : lost) {
    auto const key = "model.layers." + std::to_string(c.layer) + ".mlp.experts.." + c.tensor;
    CHECK(c.before == widest.at(key));
    CHECK(c.after == left.at(key));
  }

  plan.input_scales = cull::input_scales::max;
  cull::apply(model(), plan, folder / "max");
  auto const wanted = pruned_tensors(plan);
  std::int64_t wrong = 0, scales = 0;
  for (auto const& [name, t] : all_tensors(folder / "max")) {
    std::smatch m;
    if (std::regex_match(name, m, scale)) {
      ++scales;
      wrong += value(t) == widest.at(m[1].str() + m[4].str()) ? 0 : 1;
    } else {
      wrong += same_tensor(t, wanted.at(name)) ? 0 : 1;
    }
  }
  CHECK(scales == 42 * 15);
  CHECK(wrong == 0);
  CHECK(cull::find_differences(model(), plan, folder / "max").failures.empty());
  CHECK(cull::lost_input_scales(cull::checkpoint::open(folder / "max"), {}).empty());
  auto other = plan;
  other.input_scales = cull::input_scales::keep;
  if (!lost.empty()) CHECK_FALSE(cull::find_differences(model(), other, folder / "max").failures.empty());
}
