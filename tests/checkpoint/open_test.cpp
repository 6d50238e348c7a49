// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cstring>

#include "scratch.hpp"

namespace {

using namespace checkpoint_test;

/// A copy of the model in which one JSON file was changed.
template <class Change>
cull::error opened_with(std::string const& file, Change&& change) {
  scratch_folder const folder;
  copy_tree(model_dir(), folder / "m");
  auto json = nlohmann::json::parse(slurp(folder / "m" / file));
  change(json);
  spill(folder / "m" / file, json.dump());
  return failure_of([&] { cull::checkpoint::open(folder / "m"); });
}

}  // namespace

TEST_CASE("open: layers, experts, router and bytes are what config and headers say") {
  auto const model = cull::checkpoint::open(model_dir());
  CHECK(model.moe_layers() == std::vector<int>{1, 2, 3, 4, 5});
  CHECK(model.mtp_layers() == std::vector<int>{5});
  CHECK(model.experts() == 64);
  CHECK(model.router().top_k == 8);
  CHECK(model.router().scoring == cull::scoring::sigmoid);
  CHECK(model.router().renormalize == cull::renormalization::on);
  CHECK(model.router().scaling == 2.5f);
  CHECK(model.router().epsilon == 1e-20f);
  CHECK(model.warnings().empty());
  auto const all = all_tensors(model_dir());
  CHECK(model.tensors().size() == all.size());
  CHECK(model.ledger().bytes == nlohmann::json::parse(slurp(model_dir() / "model.safetensors.index.json"))
                                    .at("metadata")
                                    .at("total_size")
                                    .get<std::uint64_t>());
  std::uint64_t routed = 0;
  for (auto const& [name, t] : all) routed += mentions(name, ".mlp.experts.") ? t.bytes.size() : 0;
  CHECK(model.ledger().rows.at(0).role == "routed experts");
  CHECK(model.ledger().rows.at(0).bytes == routed);
}

TEST_CASE("moe_layer: views of the tensors where they lie") {
  auto const model = cull::checkpoint::open(model_dir());
  auto const all = all_tensors(model_dir());
  for (int const number : model.moe_layers()) {
    auto const layer = model.moe_layer(number);
    CHECK(layer.hidden() == 128);
    REQUIRE(layer.experts.size() == 64);
    auto const prefix = "model.layers." + std::to_string(number) + ".mlp.";
    CHECK(layer.correction_bias == all.at(prefix + "gate.e_score_correction_bias").as<float>());
    for (std::size_t e = 0; e < 64; ++e) {
      auto const name = prefix + "experts." + std::to_string(e) + ".down_proj.weight";
      auto const* const down = layer.experts[e].down.get_if<cull::nvfp4_modelopt>();
      REQUIRE(down != nullptr);
      CHECK(down->rows == 128);
      CHECK(down->cols == 64);
      CHECK(std::memcmp(down->parts.codes, all.at(name).bytes.data(), all.at(name).bytes.size()) == 0);
      CHECK(std::memcmp(down->parts.scales, all.at(name + "_scale").bytes.data(), all.at(name + "_scale").bytes.size()) == 0);
      CHECK(down->parts.tensor_scale == all.at(name + "_scale_2").as<float>()[0]);
    }
  }
  CHECK(code_of([&] { model.moe_layer(0); }) == cull::errc::out_of_range);
  CHECK(code_of([&] { model.matrix("model.layers.1.input_layernorm.weight"); }) == cull::errc::unsupported_format);
  CHECK(code_of([&] { model.values("model.layers.1.mlp.experts.0.up_proj.weight"); }) == cull::errc::unsupported_format);
}

TEST_CASE("digest: of architecture and routers, not of experts or side files") {
  auto const digest = cull::checkpoint::open(model_dir()).digest();
  scratch_folder const folder;
  copy_tree(model_dir(), folder / "m");
  spill(folder / "m/README.md", "hello");
  CHECK(cull::checkpoint::open(folder / "m").digest() == digest);
  auto const model = cull::checkpoint::open(folder / "m");
  auto const& router = model.require("model.layers.3.mlp.gate.weight");
  auto const shard = model.shards()[static_cast<std::size_t>(router.shard)].path();
  auto bytes = slurp(shard);
  bytes[router.begin] = static_cast<char>(bytes[router.begin] ^ 1);
  spill(shard, bytes);
  CHECK(cull::checkpoint::open(folder / "m").digest() != digest);
}

TEST_CASE("open: a directory that is none, or whose parts disagree") {
  CHECK(code_of([] { cull::checkpoint::open("/nonexistent/model"); }) == cull::errc::not_found);
  CHECK(code_of([] { cull::checkpoint::open(model_dir() / "config.json"); }) == cull::errc::not_found);
  scratch_folder const empty;
  CHECK(code_of([&] { cull::checkpoint::open(empty.path()); }) == cull::errc::not_found);

  auto const config = [](auto change) { return opened_with("config.json", change); };
  CHECK(config([](auto& c) { c["model_type"] = "llama"; }).code() == cull::errc::unsupported_model);
  CHECK(mentions(config([](auto& c) { c["model_type"] = "llama"; }).what(), "glm_moe_dsa"));
  CHECK(config([](auto& c) { c["num_experts"] = 63; }).code() == cull::errc::bad_config);
  CHECK(config([](auto& c) { c["num_experts"] = c["n_routed_experts"] = 63; }).code() == cull::errc::bad_config);
  CHECK(config([](auto& c) { c["num_experts"] = "64"; }).code() == cull::errc::bad_config);
  CHECK(config([](auto& c) { c["num_experts"] = 64.0; }).code() == cull::errc::bad_config);
  for (auto const* const key : {"n_group", "topk_group", "num_experts_per_tok", "num_hidden_layers"}) {
    for (std::int64_t const value : {std::int64_t{-1}, std::int64_t{65537}, (std::int64_t{1} << 32) + 1}) {
      auto const problem = config([&](auto& c) { c[key] = value; });
      CHECK(problem.code() == cull::errc::bad_config);
      CHECK(mentions(problem.what(), key));
    }
  }
  CHECK(config([](auto& c) { c["topk_method"] = "greedy"; }).code() == cull::errc::unsupported_model);
  CHECK(config([](auto& c) { c.erase("num_experts_per_tok"); }).code() == cull::errc::bad_config);
  CHECK(mentions(config([](auto& c) { c.erase("num_experts_per_tok"); }).what(), "num_experts_per_tok"));

  auto const index = [](auto change) { return opened_with("model.safetensors.index.json", change); };
  auto const name = "model.layers.2.mlp.experts.9.up_proj.weight_scale";
  CHECK(index([&](auto& i) { i["weight_map"].erase(name); }).code() == cull::errc::unindexed_tensor);
  CHECK(index([&](auto& i) { i["weight_map"].erase(name); }).where().tensor == name);
  CHECK(index([&](auto& i) { i["weight_map"]["extra"] = "model-00001-of-00003.safetensors"; }).code() ==
        cull::errc::missing_tensor);
  CHECK(index([&](auto& i) { i["weight_map"][name] = "model-00003-of-00003.safetensors"; }).code() == cull::errc::wrong_shard);
  CHECK(index([&](auto& i) { i["weight_map"][name] = "model-00004-of-00003.safetensors"; }).code() == cull::errc::missing_shard);
  for (auto const shard : {"../model.safetensors", "/etc/passwd", "C:model.safetensors", "a\\b.safetensors", "model.bin", ""}) {
    CHECK(index([&](auto& i) { i["weight_map"][name] = shard; }).code() == cull::errc::bad_shard_name);
  }
  CHECK(index([&](auto& i) { i["weight_map"][name] = 7; }).code() == cull::errc::index_schema);
  CHECK(index([&](auto& i) { i.erase("weight_map"); }).code() == cull::errc::index_schema);
}

TEST_CASE("open: JSON that lenient readers take silently") {
  scratch_folder const folder;
  copy_tree(model_dir(), folder / "m");
  auto const text = slurp(model_dir() / "config.json");
  auto const with = [&](std::string const& changed) {
    spill(folder / "m/config.json", changed);
    return code_of([&] { cull::checkpoint::open(folder / "m"); });
  };
  CHECK(with("\xef\xbb\xbf" + text) == cull::errc::json_syntax);
  CHECK(with(text + '\0') == cull::errc::json_trailing);
  CHECK(with(text + "{}") == cull::errc::json_trailing);
  CHECK(with("{\"num_experts\": 64," + text.substr(1)) == cull::errc::duplicate_key);
  CHECK(with(std::string(100, '[') + std::string(100, ']')) == cull::errc::json_depth);
  CHECK(with("[]") == cull::errc::bad_config);
  std::string const pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
  for (std::string const name : {"config.json", "model.safetensors.index.json"}) {
    auto const before = slurp(folder / "m" / name);
    spill(folder / "m" / name, pointer);
    spill(folder / "m/config.json", name == "config.json" ? pointer : text);
    auto const problem = failure_of([&] { cull::checkpoint::open(folder / "m"); });
    CHECK(cull::name(problem.code()) == "json_syntax");
    CHECK(mentions(problem.what(), name + ": byte 0: is a git-lfs pointer: run 'git lfs pull'"));
    spill(folder / "m" / name, name == "config.json" ? text : before);
  }
  spill(folder / "pointer", pointer);
  CHECK(cull::detail::holds_lfs_pointer(folder / "pointer"));
  spill(folder / "pointer", "version https://git-lfs" + std::string(1001, '.'));  // 1,024 bytes, which no pointer has
  CHECK_FALSE(cull::detail::holds_lfs_pointer(folder / "pointer"));
  CHECK_FALSE(cull::detail::holds_lfs_pointer(folder / "m/config.json"));
  CHECK(with(text) == cull::errc::cancelled);
}

TEST_CASE("open: oddities that are no errors become warnings; an expert without a tensor is told by audit") {
  scratch_folder const folder;
  copy_tree(model_dir(), folder / "m");
  spill(folder / "m/stray.safetensors", "x");
  auto index = nlohmann::json::parse(slurp(model_dir() / "model.safetensors.index.json"));
  index["metadata"]["total_size"] = 5;
  spill(folder / "m/model.safetensors.index.json", index.dump());
  auto const warnings = cull::checkpoint::open(folder / "m").warnings();
  REQUIRE(warnings.size() == 2);
  CHECK(mentions(warnings[0] + warnings[1], "stray.safetensors"));
  CHECK(mentions(warnings[0] + warnings[1], "total_size"));
  CHECK(cull::audit(cull::checkpoint::open(model_dir())).empty());
}

TEST_CASE("audit and moe_layer: a missing scale, a number beyond the count, unequal tensor scales") {
  scratch_folder const folder;
  fs::create_directory(folder / "m");
  spill(folder / "m/config.json", slurp(model_dir() / "config.json"));
  auto tensors = all_tensors(model_dir());
  tensors.erase("model.layers.4.mlp.experts.7.up_proj.weight_scale_2");
  tensors["model.layers.2.mlp.experts.64.up_proj.weight"] = tensors.at("model.layers.2.mlp.experts.0.up_proj.weight");
  tensors.at("model.layers.3.mlp.experts.1.gate_proj.weight_scale_2").bytes[0] ^= 1;
  std::vector<cull::tensor_source> sources;
  for (auto const& [name, t] : tensors) {
    sources.push_back({name, *cull::dtype_by_name(t.dtype), {t.shape.begin(), t.shape.end()}, std::as_bytes(std::span{t.bytes})});
  }
  cull::write_safetensors(folder / "m/model.safetensors", {{"format", "pt"}}, sources);
  auto const model = cull::checkpoint::open(folder / "m");
  auto const found = cull::audit(model);
  REQUIRE(found.size() == 3);
  CHECK(mentions(found[0], "layer 2 has tensors of expert 64"));
  CHECK(found[1] == "model.layers.4.mlp.experts.7.up_proj.weight_scale_2 is missing");
  CHECK(mentions(found[2], "layer 3: 1 experts have different tensor scales"));
  CHECK(code_of([&] { model.moe_layer(4); }) == cull::errc::incomplete_expert);

  cull::pruning_plan plan;
  for (int const layer : model.moe_layers()) {
    for (int e = 0; e < 32; ++e) plan.layers[layer].push_back(e);
  }
  auto const beyond = failure_of([&] { cull::keep_sets(model, plan); });
  CHECK(beyond.code() == cull::errc::expert_set);
  CHECK(mentions(beyond.what(), "layer 2: tensors of an expert beyond the count: 64"));
}

TEST_CASE("expert sets: gaps, other spellings, numbers beyond the count, experts that lack a tensor") {
  auto const family = cull::known_family("olmoe");
  using kind = cull::expert_note::kind;
  std::map<int, std::vector<int>> const kept{{0, {0, 2}}};
  auto const said = [&](std::vector<std::string> const& names) {
    cull::detail::expert_census census{family};
    for (auto const& name : names) {
      // "!": of another type
      auto const type = name.ends_with("!") ? cull::dtype::bf16 : cull::dtype::u8;
      census.add(cull::locate(family, 1, "model.layers.0.mlp.experts." + name.substr(0, name.find('!'))), type);
    }
    return std::string{
        failure_of([&] { cull::detail::check_expert_sets(census.notes([](int) { return 4; }), kept, "m"); }).what()};
  };
  auto const whole = [](int e) {
    return std::vector{std::to_string(e) + ".up_proj.weight", std::to_string(e) + ".up_proj.weight_scale"};
  };
  std::vector<std::string> names;
  for (int const e : {0, 1, 2, 3}) {
    for (auto const& name : whole(e)) names.push_back(name);
  }
  CHECK(said(names) == "nothing was thrown");
  auto const with = [&](auto change) {
    auto copy = names;
    change(copy);
    return said(copy);
  };
  CHECK(with([](auto& n) { n.erase(n.begin() + 6, n.end()); }) == "m: layer 0: no tensors of expert 3");
  CHECK(with([](auto& n) { n.erase(n.begin() + 2, n.begin() + 4); }) == "m: layer 0: no tensors of expert 1");
  CHECK(with([](auto& n) { n.push_back("01.up_proj.weight"); }) == "m: layer 0: a number spelled otherwise: 1");
  CHECK(with([](auto& n) {
          n.insert(n.end(), {"4.up_proj.weight", "7.up_proj.weight"});
        }) == "m: layer 0: tensors of an expert beyond the count: 4, 7");
  CHECK(with([](auto& n) { n.erase(n.begin() + 1); }) == "m: layer 0: not all tensors of expert 0");
  CHECK(with([](auto& n) { n.erase(n.begin() + 3); }) == "nothing was thrown");               // a dropped expert may lack one
  CHECK(with([](auto& n) { n[0] += "!", n.erase(n.begin() + 1); }) == "nothing was thrown");  // a format of fewer tensors
  CHECK(with([](auto& n) { n[0] += "!", n[1] += "!", n[4] += "!", n.erase(n.begin() + 1); }) ==
        "m: layer 0: not all tensors of expert 0");
  CHECK(cull::expert_note{}.what == kind::absent);
}

TEST_CASE("open: a router whose rows share a byte is refused") {
  scratch_folder const folder;
  spill(
      folder / "config.json",
      R"({"model_type":"olmoe","hidden_act":"silu","hidden_size":3,"num_experts":4,"num_experts_per_tok":2,"num_hidden_layers":1,
        "norm_topk_prob":false})");
  std::vector<std::byte> const bytes(6);
  cull::write_safetensors(folder / "model.safetensors", {}, {{"model.layers.0.mlp.gate.weight", cull::dtype::f4, {4, 3}, bytes}});
  auto const problem = failure_of([&] { cull::checkpoint::open(folder.path()); });
  CHECK(cull::name(problem.code()) == "sub_byte");
  CHECK(problem.where().tensor == "model.layers.0.mlp.gate.weight");
}
