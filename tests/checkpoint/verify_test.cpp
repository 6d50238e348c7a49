// SPDX-License-Identifier: Apache-2.0
// verify finds every injected fault and complains of nothing else.
#include <doctest/doctest.h>

#include <sys/stat.h>

#include <cmath>
#include <cstring>

#include <support/faulty_io.hpp>
#include <support/sanitized.hpp>

#include "scratch.hpp"

namespace {

using namespace checkpoint_test;

struct pruned_copy {
  pruned_copy() : model(cull::checkpoint::open(model_dir())), plan(oracle_plan()) { cull::apply(model, plan, dir()); }
  fs::path dir() const { return folder / "out"; }
  std::vector<std::string> failures() const { return cull::find_differences(model, plan, dir()).failures; }

  scratch_folder folder;
  cull::checkpoint model;
  cull::pruning_plan plan;
};

/// Rewrites a shard with its tensors changed.
template <class Change>
void rewrite_shard(fs::path const& path, Change&& change) {
  auto tensors = test_support::read_safetensors(path.string());
  auto const metadata = test_support::read_metadata(path.string());
  change(tensors);
  std::vector<cull::tensor_source> sources;
  for (auto const& [name, t] : tensors)
    sources.push_back({name, *cull::dtype_by_name(t.dtype), {t.shape.begin(), t.shape.end()}, std::as_bytes(std::span{t.bytes})});
  cull::write_safetensors(path, metadata, sources, cull::overwrite::yes);
}

/// Makes the manifest true again, as an attacker or a careless tool would: the
/// other checks have to find the fault.
void refresh_manifest(fs::path const& dir) {
  std::vector<cull::written_file> files;
  std::string plan;
  for (auto const& [name, text] : contents(dir)) {
    if (name == cull::manifest_file_name) continue;
    files.push_back({name, text.size(), cull::detail::hex_digest(std::as_bytes(std::span{text}))});
    if (name == cull::plan_file_name) plan = files.back().xxh128;
  }
  spill(dir / cull::manifest_file_name, cull::manifest_text(plan, files));
}

bool any_mentions(std::vector<std::string> const& failures, std::string const& part) {
  return std::any_of(failures.begin(), failures.end(), [&](auto const& f) { return mentions(f, part); });
}

fs::path shard_with(fs::path const& dir, std::string const& tensor) {
  return dir / nlohmann::json::parse(slurp(dir / "model.safetensors.index.json")).at("weight_map").at(tensor).get<std::string>();
}

}  // namespace

TEST_CASE(
    "verify: a good directory has no difference, and the report says "
    "what was proved") {
  pruned_copy const it;
  auto const report = cull::verify(it.model, it.plan, it.dir());
  auto const tensors = all_tensors(it.dir());
  std::uint64_t bytes = 0;
  std::int64_t experts = 0;
  for (auto const& [name, t] : tensors) {
    bytes += t.bytes.size();
    experts += mentions(name, ".mlp.experts.") ? 1 : 0;
  }
  CHECK(report.tensors == static_cast<std::int64_t>(tensors.size()));
  CHECK(report.bytes == bytes);
  CHECK(report.expert_tensors == experts);
  CHECK(report.files == static_cast<std::int64_t>(contents(it.dir()).size()));
}

constexpr int places = test_support::repeated(300, 3);

TEST_CASE(
    "verify: any one changed byte, at random places over all files and "
    "in every file") {
  pruned_copy const it;
  auto const files = contents(it.dir());
  std::mt19937_64 random{17};
  std::uint64_t total = 0;
  for (auto const& [name, text] : files) total += text.size();
  auto const flip = [&](std::string const& name, std::size_t at) {
    auto text = files.at(name);
    text[at] = static_cast<char>(text[at] ^ static_cast<char>(1 + random() % 255));
    spill(it.dir() / name, text);
    CAPTURE(name);
    CAPTURE(at);
    CHECK_FALSE(it.failures().empty());
    spill(it.dir() / name, files.at(name));
  };
  for (int i = 0; i < places; ++i) {
    auto place = random() % total;
    auto at = files.begin();
    for (; place >= at->second.size(); ++at) place -= at->second.size();
    flip(at->first, static_cast<std::size_t>(place));
  }
  for (auto const& [name, text] : files) {
    for (int i = 0; i < test_support::repeated(4, 1); ++i) flip(name, static_cast<std::size_t>(random() % text.size()));
    if (name.ends_with(".safetensors") && !(test_support::sanitized && name.find("-00001-") == std::string::npos)) {
      for (std::size_t const at : {std::size_t{0}, std::size_t{7}, std::size_t{8}, std::size_t{40}}) flip(name, at);
    }
  }
  CHECK(it.failures().empty());
}

TEST_CASE("verify: a byte lost or gained at the end of any file") {
  pruned_copy const it;
  int number = 0;
  for (auto const& entry : contents(it.dir())) {
    if (number++ % test_support::repeated(1, 3) != 0) continue;
    auto const& name = entry.first;
    auto const& text = entry.second;
    CAPTURE(name);
    spill(it.dir() / name, text.substr(0, text.size() - 1));
    CHECK_FALSE(it.failures().empty());
    spill(it.dir() / name, text + "\n");
    CHECK_FALSE(it.failures().empty());
    spill(it.dir() / name, text);
  }
  CHECK(it.failures().empty());
}

TEST_CASE("verify: two experts swapped, though the manifest agrees") {
  pruned_copy const it;
  std::string const a = "model.layers.2.mlp.experts.4.", b = "model.layers.2.mlp.experts.5.";
  auto const shard = shard_with(it.dir(), a + "up_proj.weight");
  rewrite_shard(shard, [&](auto& tensors) {
    for (auto const part : {"up_proj.weight", "up_proj.weight_scale", "gate_proj.weight", "gate_proj.weight_scale"}) {
      if (tensors.contains(a + part) && tensors.contains(b + part))
        std::swap(tensors.at(a + part).bytes, tensors.at(b + part).bytes);
    }
  });
  refresh_manifest(it.dir());
  CHECK(any_mentions(it.failures(), a + "up_proj.weight"));
  CHECK(any_mentions(it.failures(), b + "up_proj.weight"));
  auto const problem = failure_of([&] { cull::verify(it.model, it.plan, it.dir()); });
  CHECK(problem.code() == cull::errc::verification_failed);
  CHECK(mentions(problem.what(), "differs from model.layers.2.mlp.experts."));
}

TEST_CASE("verify: two router rows swapped, though the manifest agrees") {
  pruned_copy const it;
  std::string const name = "model.layers.3.mlp.gate.weight";
  rewrite_shard(shard_with(it.dir(), name), [&](auto& tensors) {
    auto& bytes = tensors.at(name).bytes;
    std::swap_ranges(bytes.begin(), bytes.begin() + 256, bytes.begin() + 256);
  });
  refresh_manifest(it.dir());
  auto const failures = it.failures();
  REQUIRE(failures.size() == 1);
  CHECK(mentions(failures[0], name));
}

TEST_CASE("verify: a missing scale, and a tensor too many") {
  pruned_copy const it;
  std::string const name = "model.layers.4.mlp.experts.7.down_proj.weight_scale_2";
  auto const shard = shard_with(it.dir(), name);
  rewrite_shard(shard, [&](auto& tensors) {
    tensors["model.layers.4.mlp.experts.42.down_proj.weight_scale_2"] = tensors.at(name);
    tensors.erase(name);
  });
  refresh_manifest(it.dir());
  CHECK(any_mentions(it.failures(), name + ": is missing"));
  CHECK(any_mentions(it.failures(), "experts.42."));
}

TEST_CASE("verify: stale and wrong entries of the index") {
  pruned_copy const it;
  auto const path = it.dir() / "model.safetensors.index.json";
  auto const text = slurp(path);
  auto const with = [&](auto change) {
    auto index = nlohmann::json::parse(text);
    change(index);
    spill(path, index.dump(2));
    refresh_manifest(it.dir());
    auto const failures = it.failures();
    spill(path, text);
    refresh_manifest(it.dir());
    return failures;
  };
  std::string const stale = "model.layers.1.mlp.experts.42.up_proj.weight", moved = "lm_head.weight";
  CHECK(any_mentions(with([&](auto& i) { i["weight_map"][stale] = "model-00001-of-00003.safetensors"; }), stale));
  CHECK(any_mentions(with([&](auto& i) { i["weight_map"].erase(moved); }), moved));
  CHECK(any_mentions(with([&](auto& i) { i["weight_map"][moved] = "model-00001-of-00003.safetensors"; }), moved));
  CHECK(any_mentions(with([&](auto& i) { i["metadata"]["total_size"] = 1; }), "total_size"));
  CHECK(any_mentions(with([&](auto& i) { i["weight_map"][moved] = "model-00009-of-00003.safetensors"; }), "model-00009"));
  CHECK(any_mentions(with([&](auto& i) { i["weight_map"][moved] = "../x.safetensors"; }), "x.safetensors"));
  CHECK(it.failures().empty());
}

TEST_CASE("verify: extra and missing files") {
  pruned_copy const it;
  spill(it.dir() / "notes.txt", "x");
  CHECK(any_mentions(it.failures(), "notes.txt"));
  fs::remove(it.dir() / "notes.txt");
  spill(it.dir() / "model-00004-of-00003.safetensors", "x");
  CHECK(any_mentions(it.failures(), "model-00004-of-00003.safetensors"));
  fs::remove(it.dir() / "model-00004-of-00003.safetensors");
  auto const files = contents(it.dir());
  for (auto const& entry : files) {
    auto const& name = entry.first;
    fs::remove(it.dir() / name);
    CAPTURE(name);
    CHECK_FALSE(it.failures().empty());
    refresh_manifest(it.dir());
    if (name != cull::manifest_file_name) CHECK(any_mentions(it.failures(), name));
    for (auto const& [other, content] : files) spill(it.dir() / other, content);
  }
  CHECK(it.failures().empty());
}

TEST_CASE("verify: every file that apply takes over, and none that it leaves behind, though the manifest agrees") {
  scratch_folder const folder;
  copy_tree(model_dir(), folder / "m");
  fs::create_directories(folder / "m/assets/.cache");
  std::vector<std::string> const taken{"merges.txt",       "special_tokens_map.json", "modeling_x.py",
                                       "assets/notes.txt", "assets/config.json",      "generation_config.json"};
  std::vector<std::string> const left{"stray.safetensors", "consolidated.pth", "pytorch_model.bin",
                                      "assets/x.gguf",     ".hidden",          "assets/.cache/x.txt"};
  for (auto const& list : {taken, left}) {
    for (auto const& name : list) spill(folder / "m" / name, "the source's " + name);
  }
  auto const model = cull::checkpoint::open(folder / "m");
  auto const plan = oracle_plan();
  auto const out = folder / "out";
  cull::apply(model, plan, out);
  auto const failures = [&] {
    refresh_manifest(out);
    return cull::find_differences(model, plan, out).failures;
  };
  CHECK(failures().empty());
  for (auto const& name : taken) {
    CAPTURE(name);
    fs::rename(out / name, folder / "aside");
    CHECK(failures() == std::vector{name + ": is missing"});
    spill(out / name, "another");
    CHECK(failures() == std::vector{name + ": differs from the source's"});
    fs::rename(folder / "aside", out / name);
  }
  for (auto const& name : left) {
    CAPTURE(name);
    CHECK_FALSE(fs::exists(out / name));
    fs::create_directories((out / name).parent_path());
    fs::copy_file(folder / "m" / name, out / name);
    CHECK(any_mentions(failures(), name + ": does not belong to the checkpoint"));
    fs::remove(out / name);
  }
  fs::create_directory_symlink(model_dir(), out / "behind");
  CHECK(any_mentions(failures(), "behind: does not belong"));
  fs::remove(out / "behind");
  // A pipe in the place of a file is told, not waited for.
  fs::remove(out / "merges.txt");
  REQUIRE(::mkfifo((out / "merges.txt").c_str(), 0600) == 0);
  CHECK(any_mentions(cull::find_differences(model, plan, out).failures, "is not a regular file"));
}

TEST_CASE(
    "verify: wrong numbers and foreign settings in config.json, though "
    "the manifest agrees") {
  pruned_copy const it;
  auto const path = it.dir() / "config.json";
  auto const text = slurp(path);
  for (auto const& [from, to] : {std::pair{"\"num_experts\": 42", "\"num_experts\": 64"},
                                 {"\"n_routed_experts\": 42", "\"n_routed_experts\": 43"},
                                 {"\"topk_method\": \"noaux_tc\",", ""},
                                 {"\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 1e-06"},
                                 {"model.layers.3.mlp.gate", "model.layers.3.mlp.gates"}}) {
    auto changed = text;
    auto const at = changed.find(from);
    REQUIRE(at != std::string::npos);
    changed.replace(at, std::strlen(from), to);
    spill(path, changed);
    refresh_manifest(it.dir());
    CAPTURE(changed);
    CHECK(any_mentions(it.failures(), "config.json"));
  }
}

TEST_CASE("verify: hf_quant_config.json has no counts, whatever its keys are called") {
  // Found by fuzzing.
  scratch_folder const folder;
  copy_tree(model_dir(), folder / "m");
  auto quant = nlohmann::json::parse(slurp(folder / "m/hf_quant_config.json"));
  quant["n_routed_experts"] = 64;
  quant["quantization"]["exclude_modules"].push_back("model.layers.77.mlp.experts.3.up_proj");
  spill(folder / "m/hf_quant_config.json", quant.dump());
  auto const model = cull::checkpoint::open(folder / "m");
  auto plan = oracle_plan();
  plan.model_digest = model.digest();
  cull::apply(model, plan, folder / "out");
  CHECK(cull::find_differences(model, plan, folder / "out").failures.empty());
  // A layer that is not there has no experts to be named.
  quant["quantization"]["exclude_modules"].erase(quant["quantization"]["exclude_modules"].size() - 1);
  CHECK(slurp(folder / "out/hf_quant_config.json") == quant.dump());
}

TEST_CASE("verify: another plan, another source, no directory") {
  pruned_copy const it;
  auto const other = oracle_plan("term");
  CHECK_FALSE(cull::find_differences(it.model, other, it.dir()).failures.empty());
  CHECK(code_of([&] { cull::verify(it.model, it.plan, it.folder / "none"); }) == cull::errc::not_found);
  CHECK(code_of([&] { cull::find_differences(it.model, it.plan, it.dir(), {.cancelled = [] { return true; }}); }) ==
        cull::errc::cancelled);
  copy_tree(model_dir(), it.folder / "m");
  auto const expert = "model.layers.1.mlp.experts.1.up_proj.weight";
  rewrite_shard(shard_with(it.folder / "m", expert), [&](auto& tensors) { tensors.at(expert).bytes[5] ^= 1; });
  CHECK(any_mentions(cull::find_differences(cull::checkpoint::open(it.folder / "m"), it.plan, it.dir()).failures, "experts."));
}

TEST_CASE(
    "verify: a sample compares the share of tensors that was asked for "
    "and everything else in full") {
  pruned_copy const it;
  auto const report = cull::verify(it.model, it.plan, it.dir(), {.sample = 0.25});
  auto const all = static_cast<double>(report.all_tensors);
  CHECK(report.all_tensors == static_cast<std::int64_t>(all_tensors(it.dir()).size()));
  // Within five standard deviations of a fair draw.
  CHECK(std::abs(static_cast<double>(report.tensors) - all / 4) < 5 * std::sqrt(all * 0.25 * 0.75));
  CHECK(report.files == static_cast<std::int64_t>(contents(it.dir()).size()));

  std::int64_t found = 0, tried = 0;
  auto const name = it.dir() / "model-00002-of-00003.safetensors";
  auto const text = slurp(name);
  std::mt19937_64 random{5};
  for (; tried < 60; ++tried) {
    auto changed = text;
    changed[text.size() / 3 + random() % (text.size() / 2)] ^= 1;
    spill(name, changed);
    found += cull::find_differences(it.model, it.plan, it.dir(), {.sample = 0.5}).failures.empty() ? 0 : 1;
  }
  spill(name, text);
  CHECK(found > 5);
  CHECK(found < tried);
  for (auto const& entry : contents(it.dir())) {
    auto const& file = entry.first;
    auto const& content = entry.second;
    if (file.ends_with(".safetensors")) continue;
    auto changed = content;
    changed[content.size() / 2] ^= 1;
    spill(it.dir() / file, changed);
    CAPTURE(file);
    CHECK_FALSE(cull::find_differences(it.model, it.plan, it.dir(), {.sample = 0.001}).failures.empty());
    spill(it.dir() / file, content);
  }
}

TEST_CASE("verify: a disk that says it has written and has not") {
  pruned_copy const good;
  auto const wanted = contents(good.dir());
  std::int64_t lies = 0;
  for (std::int64_t n = 1;; ++n) {
    CAPTURE(n);
    cull::posix_io files;
    test_support::faulty_io<cull::posix_io> io{files, {.kind = test_support::fault_kind::lie, .number = n}};
    auto const out = good.folder / "lied";
    cull::apply(io, good.model, good.plan, out, {.threads = 1});
    if (!io.struck()) break;
    lies += contents(out) == wanted ? 0 : 1;
    // The journal's lies, and bytes that would have been zero, leave nothing to
    // be found.
    CHECK(cull::find_differences(good.model, good.plan, out).failures.empty() == (contents(out) == wanted));
    fs::remove_all(out);
  }
  CHECK(lies >= 8);
}

TEST_CASE("verify: where only a dropped MTP layer had experts, the config has none and no list of them") {
  scratch_folder const folder;
  std::vector<float> const numbers(8);
  auto const data = std::as_bytes(std::span{numbers});
  std::vector<cull::tensor_source> tensors{{"model.layers.1.mlp.gate.weight", cull::dtype::f32, {2, 2}, data.first(16)}};
  for (std::string const expert : {"0", "1"}) {
    for (std::string const part : {"gate_proj", "up_proj", "down_proj"})
      tensors.push_back(
          {"model.layers.1.mlp.experts." + expert + "." + part + ".weight", cull::dtype::bf16, {2, 2}, data.first(8)});
  }
  fs::create_directories(folder / "model");
  cull::write_safetensors(folder / "model/model.safetensors", {}, tensors);
  spill(folder / "model/config.json", R"({"model_type": "glm4_moe", "num_hidden_layers": 1, "num_nextn_predict_layers": 1,
 "n_routed_experts": 2, "num_experts_per_tok": 1})");
  auto const model = cull::checkpoint::open(folder / "model");
  auto const plan = cull::parse_plan(R"({"layers": {}, "mtp": "drop"})", "plan");
  cull::apply(model, plan, folder / "out");
  CHECK(nlohmann::json::parse(slurp(folder / "out/config.json")) ==
        nlohmann::json::parse(R"({"model_type": "glm4_moe", "num_hidden_layers": 1, "num_nextn_predict_layers": 0,
 "n_routed_experts": 0, "num_experts_per_tok": 1})"));
  CHECK(cull::find_differences(model, plan, folder / "out").failures.empty());
}
