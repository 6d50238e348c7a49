// SPDX-License-Identifier: Apache-2.0
// What apply writes, read back by a reader that shares nothing with it.
#include <doctest/doctest.h>

#include <cstring>
#include <numeric>
#include <regex>

#include <support/sanitized.hpp>

#include "scratch.hpp"
#include "small_model.hpp"

namespace {

using namespace checkpoint_test;

bool same(test_support::tensor const& a, test_support::tensor const& b) {
  return a.dtype == b.dtype && a.shape == b.shape && a.bytes == b.bytes;
}

/// The tensors that a pruned model must have, from the plan and a regular
/// expression over names.
std::map<std::string, test_support::tensor> expected(cull::pruning_plan const& plan, bool with_mtp = true) {
  static std::regex const expert{R"(model\.layers\.(\d+)\.mlp\.experts\.(\d+)\.(.*))"},
      router{R"(model\.layers\.(\d+)\.mlp\.gate\..*)"};
  std::map<std::string, test_support::tensor> out;
  for (auto const& [name, t] : all_tensors(model_dir())) {
    std::smatch m;
    if (!with_mtp && name.starts_with("model.layers.5.")) continue;
    if (std::regex_match(name, m, expert)) {
      auto const& kept = plan.layers.at(std::stoi(m[1]));
      for (std::size_t i = 0; i < kept.size(); ++i) {
        if (kept[i] == std::stoi(m[2]))
          out["model.layers." + m[1].str() + ".mlp.experts." + std::to_string(i) + "." + m[3].str()] = t;
      }
    } else if (std::regex_match(name, m, router)) {
      auto const& kept = plan.layers.at(std::stoi(m[1]));
      auto rows = t;
      rows.bytes.clear();
      rows.shape[0] = static_cast<std::int64_t>(kept.size());
      auto const size = t.bytes.size() / 64;
      for (int const id : kept)
        rows.bytes.insert(rows.bytes.end(), t.bytes.begin() + static_cast<std::ptrdiff_t>(size * static_cast<std::size_t>(id)),
                          t.bytes.begin() + static_cast<std::ptrdiff_t>(size * static_cast<std::size_t>(id + 1)));
      out[name] = rows;
    } else {
      out[name] = t;
    }
  }
  return out;
}

void check_tensors(std::map<std::string, test_support::tensor> const& wanted, fs::path const& dir) {
  auto const written = all_tensors(dir);
  REQUIRE(written.size() == wanted.size());
  std::int64_t different = 0;
  for (auto const& [name, t] : wanted) different += written.contains(name) && same(written.at(name), t) ? 0 : 1;
  CHECK(different == 0);
  std::uint64_t total = 0;
  for (auto const& [name, t] : written) total += t.bytes.size();
  auto const index = nlohmann::json::parse(slurp(dir / "model.safetensors.index.json"));
  CHECK(index.at("metadata").at("total_size") == total);
  CHECK(index.at("weight_map").size() == written.size());
  std::map<std::string, std::string> shard_of;
  for (auto const& entry : fs::directory_iterator{dir}) {
    if (entry.path().extension() != ".safetensors") continue;
    for (auto const& [name, t] : test_support::read_safetensors(entry.path().string()))
      shard_of[name] = entry.path().filename().string();
  }
  CHECK(index.at("weight_map").get<std::map<std::string, std::string>>() == shard_of);
}

}  // namespace

TEST_CASE(
    "apply: every surviving tensor has its source's bytes, everything "
    "else is copied, twice the same directory") {
  scratch_folder const folder;
  auto const plan = oracle_plan();
  auto const report = cull::apply(model(), plan, folder / "a");
  auto const wanted = expected(plan);
  auto const written = all_tensors(folder / "a");
  REQUIRE(written.size() == wanted.size());
  std::int64_t different = 0;
  for (auto const& [name, t] : wanted) different += written.contains(name) && same(written.at(name), t) ? 0 : 1;
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
  for (auto const& [name, t] : wanted) REQUIRE(same(written.at(name), t));
  CHECK(slurp(folder / "all/config.json") == slurp(model_dir() / "config.json"));
  CHECK(slurp(folder / "all/model.safetensors.index.json").size() == slurp(model_dir() / "model.safetensors.index.json").size());
}

TEST_CASE("apply: MTP dropped, or pruned by another layer's keep-set") {
  scratch_folder const folder;
  auto plan = oracle_plan();
  plan.mtp = cull::mtp_policy::drop();
  cull::apply(model(), plan, folder / "drop");
  check_tensors(expected(plan, false), folder / "drop");
  auto const config = nlohmann::json::parse(slurp(folder / "drop/config.json"));
  CHECK(config.at("num_nextn_predict_layers") == 0);
  CHECK(cull::checkpoint::open(folder / "drop").mtp_layers().empty());
  CHECK(cull::find_differences(model(), plan, folder / "drop").failures.empty());

  plan.mtp = cull::mtp_policy::copy(2);
  cull::apply(model(), plan, folder / "copy");
  auto as_layer_two = plan;
  as_layer_two.layers[5] = plan.layers[2];
  check_tensors(expected(as_layer_two), folder / "copy");
  CHECK(cull::find_differences(model(), plan, folder / "copy").failures.empty());
}

/// Applies until `share` of all ranges have been begun.
cull::error stop_after(double share, cull::pruning_plan const& plan, fs::path const& out, int threads = 1) {
  std::int64_t ranges = 0;
  scratch_folder const folder;
  cull::apply(model(), plan, folder / "out", {.cancelled = [&] { return ++ranges < 0; }, .threads = threads});
  std::int64_t asked = 0;
  auto const limit = static_cast<std::int64_t>(share * static_cast<double>(ranges));
  return failure_of(
      [&] { cull::apply(model(), plan, out, {.cancelled = [&] { return asked++ >= limit; }, .threads = threads}); });
}

TEST_CASE(
    "apply: stopped at any point, it goes on and ends with the same "
    "bytes, whatever the threads") {
  scratch_folder const folder;
  auto const plan = oracle_plan();
  cull::apply(model(), plan, folder / "whole", {.threads = 1});
  auto const wanted = contents(folder / "whole");
  bool any_resumed = false;
  for (int stop = 0; stop < 20; stop += test_support::repeated(1, 6)) {
    CAPTURE(stop);
    auto const out = folder / "out";
    auto const problem = stop_after(stop / 20.0, plan, out, 1 + stop % 4);
    REQUIRE(problem.code() == cull::errc::cancelled);
    CHECK_FALSE(fs::exists(out));
    CHECK(fs::exists(folder / "out.partial"));
    std::int64_t finished = 0;
    for (auto const& entry : fs::directory_iterator{folder / "out.partial"})
      finished += entry.path().filename().string().starts_with('.') ? 0 : 1;
    any_resumed = any_resumed || finished > 0;
    auto const report = cull::apply(model(), plan, out, {.threads = 1 + stop % 3});
    CHECK(contents(out) == wanted);
    CHECK(report.resumed == finished);
    CHECK_FALSE(fs::exists(folder / "out.partial"));
    fs::remove_all(out);
  }
  CHECK(any_resumed);
}

TEST_CASE(
    "apply: a directory begun with another plan or model is not "
    "continued; a cut journal line counts for nothing") {
  scratch_folder const folder;
  CHECK(stop_after(0.8, oracle_plan("code"), folder / "out").code() == cull::errc::cancelled);
  CHECK(code_of([&] { cull::apply(model(), oracle_plan("term"), folder / "out"); }) == cull::errc::already_exists);
  copy_tree(model_dir(), folder / "newer");
  auto const newer = cull::checkpoint::open(folder / "newer");
  CHECK(code_of([&] { cull::apply(newer, oracle_plan("code"), folder / "out"); }) == cull::errc::already_exists);
  auto const journal = folder / "out.partial/.cull-journal";
  auto const text = slurp(journal);
  spill(journal, text.substr(0, text.size() - 4));
  cull::apply(model(), oracle_plan("code"), folder / "out");
  cull::apply(model(), oracle_plan("code"), folder / "other");
  CHECK(contents(folder / "out") == contents(folder / "other"));
}

TEST_CASE(
    "apply: a finished file that was changed meanwhile is written again: "
    "in size always, in a byte when asked to look") {
  scratch_folder const folder;
  auto const plan = oracle_plan();
  auto const first = folder / "out.partial/model-00001-of-00003.safetensors";
  CHECK(stop_after(0.8, plan, folder / "out").code() == cull::errc::cancelled);
  fs::resize_file(first, 100);
  CHECK(cull::apply(model(), plan, folder / "out").resumed == 1);
  CHECK(cull::find_differences(model(), plan, folder / "out").failures.empty());
  fs::remove_all(folder / "out");
  CHECK(stop_after(0.8, plan, folder / "out").code() == cull::errc::cancelled);
  auto text = slurp(first);
  text[text.size() / 2] ^= 1;
  spill(first, text);
  CHECK(cull::apply(model(), plan, folder / "out", {.resume = cull::resume_check::digest}).resumed == 1);
  CHECK(cull::find_differences(model(), plan, folder / "out").failures.empty());
}

TEST_CASE("apply: destinations that would destroy something") {
  scratch_folder const folder;
  auto const plan = oracle_plan();
  spill(folder / "file", "x");
  CHECK(code_of([&] { cull::apply(model(), plan, folder / "file"); }) == cull::errc::already_exists);
  CHECK(slurp(folder / "file") == "x");
  fs::create_directory(folder / "dir");
  CHECK(code_of([&] { cull::apply(model(), plan, folder / "dir"); }) == cull::errc::already_exists);
  fs::create_symlink("nowhere", folder / "link");
  CHECK(code_of([&] { cull::apply(model(), plan, folder / "link"); }) == cull::errc::already_exists);
  CHECK(code_of([&] { cull::apply(model(), plan, folder / "no/such/dir"); }) == cull::errc::not_found);
  copy_tree(model_dir(), folder / "m");
  auto const copy = cull::checkpoint::open(folder / "m");
  CHECK(contents(folder / "m") == contents(model_dir()));
}

TEST_CASE("apply: an output that is the source, lies in it, holds it or shares files with it") {
  scratch_folder const folder;
  auto const plan = oracle_plan();
  copy_tree(model_dir(), folder / "above/m");
  fs::create_directory_symlink("above/m", folder / "alias");
  fs::create_directory_symlink("above", folder / "up.partial");
  for (std::string const twin : {"twin", "begun.partial"}) {
    fs::create_directory(folder / twin);
    for (auto const& [name, text] : contents(model_dir())) fs::create_hard_link(folder / "above/m" / name, folder / twin / name);
  }
  auto const tree = contents(folder.path());
  auto const copy = cull::checkpoint::open(folder / "above/m");
  for (auto const* const out :
       {"above/m", "above/m/", "above/m/pruned", "alias", "alias/pruned", "above", "up", "twin", "begun"}) {
    CAPTURE(out);
    CHECK(cull::name(code_of([&] { cull::apply(copy, plan, folder / out); })) == "same_tree");
  }
  CHECK(contents(folder.path()) == tree);
  cull::apply(copy, plan, folder / "above/beside");
  CHECK(cull::find_differences(copy, plan, folder / "above/beside").failures.empty());
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
  auto const written = all_tensors(folder / "out"), wanted = expected(oracle_plan());
  REQUIRE(written.size() == wanted.size());
  for (auto const& [name, t] : wanted) REQUIRE(same(written.at(name), t));

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

TEST_CASE("apply: what cannot be written or listed is refused, by name and before anything is there") {
  scratch_folder const folder;
  copy_tree(model_dir(), folder / "m");
  auto const refused = [&](cull::checkpoint const& source, fs::path const& to) {
    auto const problem = failure_of([&] { cull::apply(source, oracle_plan(), folder / to); });
    std::error_code absent;
    CHECK_FALSE(fs::exists((folder / to).string() + ".partial", absent));
    return problem;
  };
  auto const source = cull::checkpoint::open(folder / "m");
  fs::create_symlink("loop", folder / "loop");
  CHECK(refused(source, "loop").code() == cull::errc::already_exists);
  CHECK(refused(source, "loop/out").code() == cull::errc::not_found);
  fs::create_symlink("turn.partial", folder / "turn.partial");
  CHECK(cull::name(code_of([&] { cull::apply(source, oracle_plan(), folder / "turn"); })) == "io");

  // A cache of the hub has the bytes beside the snapshot.
  fs::create_directories(folder / "hub/blobs");
  fs::create_directories(folder / "hub/snapshots/1");
  for (auto const& [name, text] : contents(folder / "m")) {
    spill(folder / "hub/blobs" / ("blob-" + name), text);
    fs::create_symlink("../../blobs/blob-" + name, folder / "hub/snapshots/1" / name);
  }
  auto const cached = cull::checkpoint::open(folder / "hub/snapshots/1");
  CHECK(refused(cached, "hub/blobs/out").code() == cull::errc::same_tree);
  CHECK(refused(cached, "hub/snapshots/1/out").code() == cull::errc::same_tree);

  spill(folder / "m/\xffnotes.txt", "x");
  auto const problem = refused(source, "out");
  CHECK(problem.code() == cull::errc::bad_utf8);
  CHECK(mentions(problem.what(), "\\xffnotes.txt: has a name that is no UTF-8"));
}

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

TEST_CASE(
    "apply: shards of a given size, as greedily as can be; one shard "
    "needs no index") {
  scratch_folder const folder;
  auto plan = oracle_plan();
  plan.shard_bytes = 700'000;
  cull::apply(model(), plan, folder / "cut");
  check_tensors(expected(plan), folder / "cut");
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
  CHECK(all_tensors(folder / "one").size() == expected(plan).size());

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
  check_tensors(expected(plan, false), folder / "out");
  CHECK(cull::find_differences(split, plan, folder / "out").failures.empty());
  fs::rename(folder / "out/head.safetensors", folder / "out/heads.safetensors");
  CHECK_FALSE(cull::find_differences(split, plan, folder / "out").failures.empty());
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
  auto const wanted = expected(plan);
  std::int64_t wrong = 0, scales = 0;
  for (auto const& [name, t] : all_tensors(folder / "max")) {
    std::smatch m;
    if (std::regex_match(name, m, scale)) {
      ++scales;
      wrong += value(t) == widest.at(m[1].str() + m[4].str()) ? 0 : 1;
    } else {
      wrong += same(t, wanted.at(name)) ? 0 : 1;
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
