// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/added_files.hpp>
#include <cull/checkpoint/compare_files.hpp>
#include <cull/checkpoint/expected_config.hpp>
#include <cull/checkpoint/expected_tensors.hpp>
#include <cull/checkpoint/json.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/checkpoint/plan_file.hpp>
#include <cull/checkpoint/pruned_layout.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

struct verify_options {
  std::function<void(std::uint64_t done, std::uint64_t total)> progress = {};  ///< in bytes of tensors
  std::function<bool()> cancelled = {};
};

/// What was proved, and what was found wrong.
struct verify_report {
  std::int64_t files = 0;
  std::int64_t tensors = 0;
  std::int64_t expert_tensors = 0;    ///< of them, of routed experts
  std::uint64_t bytes = 0;            ///< of tensors, compared with the source one by one
  std::vector<std::string> failures;  ///< each names its file or tensor; empty: the directory is what plan and source say
};

namespace detail {

/// Reads what was written with plain streams and compares it with the source.
class verifier {
 public:
  verifier(checkpoint const& model, pruning_plan const& plan, std::filesystem::path dir, verify_options const& options)
      : model_(model),
        plan_(plan),
        dir_(std::move(dir)),
        options_(options),
        kept_(keep_sets(model, plan)),
        expected_(model, kept_) {}

  verify_report run() {
    if (!std::filesystem::is_directory(dir_)) throw error{errc::not_found, "there is no such directory", {.file = dir_.string()}};
    wanted_ = expected_.tensors();
    for (auto const& [name, t] : wanted_) total_ += t.source->bytes();
    list_files();
    attempt("the index", [&] { read_index_file(); });
    for (auto const& shard : shards_) attempt(shard, [&] { check_shard(shard); });
    for (auto const& [name, t] : wanted_) fail(name + ": is missing");
    attempt("config.json", [&] { check_json("config.json"); });
    if (std::filesystem::exists(model_.dir() / "hf_quant_config.json"))
      attempt("hf_quant_config.json", [&] { check_json("hf_quant_config.json"); });
    attempt(plan_file_name, [&] { check_plan(); });
    attempt(manifest_file_name, [&] { check_added_files(); });
    check_side_files();
    attempt(manifest_file_name, [&] { check_manifest(); });
    for (auto const& name : files_) fail(name + ": does not belong to the checkpoint");
    return std::move(report_);
  }

 private:
  void fail(std::string what) { report_.failures.push_back(std::move(what)); }
  template <class Check>
  void attempt(std::string const& what, Check&& check) {
    try {
      check();
    } catch (error const& problem) {
      if (problem.code() == errc::cancelled) throw;
      fail(what + ": " + problem.what());
    } catch (std::exception const& problem) {
      fail(what + ": " + problem.what());
    }
  }

  void list_files() {
    for (auto const& entry : std::filesystem::recursive_directory_iterator{dir_}) {
      if (!entry.is_directory()) files_.insert(entry.path().lexically_relative(dir_).string());
    }
    report_.files = static_cast<std::int64_t>(files_.size());
  }
  /// Marks a file as accounted for.
  bool claim(std::string const& name) {
    if (files_.erase(name) > 0) return true;
    fail(name + ": is missing");
    return false;
  }

  void read_index_file() {
    if (!std::filesystem::exists(model_.dir() / index_file_name)) {
      shards_.insert(single_file_name);
      return;
    }
    if (!claim(index_file_name)) return;
    auto const root = parse_json(slurp(dir_ / index_file_name), index_file_name);
    std::map<std::string, std::string> map = root.at("weight_map");
    std::uint64_t total = 0;
    for (auto const& [name, t] : wanted_) {
      total += wanted_bytes(t);
      if (!map.contains(name)) fail(name + ": is missing in the index");
    }
    for (auto const& [name, shard] : map) {
      if (!wanted_.contains(name)) fail(name + ": is in the index and must not be");
      check_shard_name(shard, index_file_name);
      shards_.insert(shard);
    }
    if (root.at("metadata").at("total_size") != total) fail("the index: total_size is not " + std::to_string(total));
    index_ = std::move(map);
  }

  void check_shard(std::string const& shard) {
    if (!claim(shard)) return;
    safetensors_file const file{dir_ / shard};
    check_metadata(shard, file);
    std::ifstream out{dir_ / shard, std::ios::binary};
    for (auto const& t : file.tensors()) {
      auto const found = wanted_.find(t.name);
      if (found == wanted_.end()) {
        fail(t.name + ": in " + shard + ", must not be there or is there twice");
        continue;
      }
      if (!index_.empty() && index_.contains(t.name) && index_.at(t.name) != shard)
        fail(t.name + ": is in " + shard + ", the index says " + index_.at(t.name));
      compare(t, found->second, out);
      wanted_.erase(found);
    }
  }

  void check_metadata(std::string const& shard, safetensors_file const& file) {
    for (auto const& source : model_.shards()) {
      if (source.path().filename() != shard) continue;
      auto wanted = source.metadata();
      wanted.emplace("format", "pt");
      if (file.metadata() != wanted) fail(shard + ": metadata is not the source's");
      return;
    }
    fail(shard + ": the source has no file of that name");
  }

  static std::uint64_t wanted_bytes(expectation::tensor const& t) {
    return t.places.empty() ? t.source->bytes() : t.source->bytes() / t.source->shape[t.axis] * t.places.size();
  }

  void compare(tensor_info const& t, expectation::tensor const& wanted, std::ifstream& out) {
    auto shape = wanted.source->shape;
    if (!wanted.places.empty()) shape[wanted.axis] = wanted.places.size();
    if (t.type != wanted.source->type || t.shape != shape) {
      fail(t.name + ": has another type or shape than " + wanted.source->name + " of the source");
      return;
    }
    if (!same_bytes(t, wanted, out)) return;
    ++report_.tensors;
    report_.expert_tensors += expected_.is_expert(wanted.source->name) ? 1 : 0;
    report_.bytes += t.bytes();
    if (options_.progress) options_.progress(report_.bytes, total_);
  }

  /// Piece by piece: all of a tensor, or each kept place for each index of the axes before it.
  bool same_bytes(tensor_info const& t, expectation::tensor const& wanted, std::ifstream& out) {
    auto& in = source_stream(static_cast<std::size_t>(wanted.source->shard));
    auto const& shape = wanted.source->shape;
    auto const pieces = wanted.places.empty() ? std::vector<int>{0} : wanted.places;
    std::uint64_t outer = 1;
    for (std::size_t i = 0; i < wanted.axis; ++i) outer *= shape[i];
    std::uint64_t const there = wanted.places.empty() ? 1 : shape[wanted.axis];
    std::uint64_t const size = wanted.source->bytes() / (outer * there);
    for (std::uint64_t i = 0; i < outer * pieces.size(); ++i) {
      auto const place = static_cast<std::uint64_t>(pieces[i % pieces.size()]);
      auto const from = wanted.source->begin + (i / pieces.size() * there + place) * size;
      auto const byte = first_difference({in, from}, {out, t.begin + i * size}, size, options_.cancelled);
      if (byte == size) continue;
      fail(t.name + ": byte " + std::to_string(t.begin + i * size + byte) + " of its file differs from " + wanted.source->name +
           " of the source");
      return false;
    }
    return true;
  }

  std::ifstream& source_stream(std::size_t shard) {
    sources_.resize(model_.shards().size());
    if (!sources_[shard].is_open()) sources_[shard].open(model_.shards()[shard].path(), std::ios::binary);
    return sources_[shard];
  }

  /// config.json and hf_quant_config.json: the source's, but for counts and the names of experts.
  void check_json(std::string const& name) {
    if (!claim(name)) return;
    auto const wanted = expected_json(model_, expected_, kept_, plan_.mtp, parse_json(slurp(model_.dir() / name), name));
    auto const found = parse_json(slurp(dir_ / name), name);
    if (found != wanted) fail(name + ": differs from what source and plan say: " + json::diff(found, wanted).dump());
  }

  void check_plan() {
    if (!claim(plan_file_name)) return;
    auto const written = load_plan(dir_ / plan_file_name);
    if (written.layers != plan_.layers || !(written.mtp == plan_.mtp) || written.model_digest != model_.digest()) {
      fail(std::string{plan_file_name} + ": is another plan");
    }
  }

  /// What the manifest lists as added: cards and the like, under names that are not the model's.
  void check_added_files() {
    if (!files_.contains(manifest_file_name)) return;
    added_ = added_names(read_manifest(dir_));
    for (auto const& name : added_) {
      if (!may_be_added(name)) {
        fail(name + ": is listed as added, and a file of that name never is");
      } else if (claim(name)) {
        auto const problem = find_lost_source(model_.dir(), dir_, name);
        if (!problem.empty()) fail(problem);
      }
    }
  }

  void check_side_files() {
    for (auto const& entry : std::filesystem::recursive_directory_iterator{model_.dir()}) {
      auto const path = entry.path().lexically_relative(model_.dir());
      // An added file was looked at already, and stands for the source's of that name.
      if (!entry.is_regular_file() || !files_.contains(path.string()) || path == manifest_file_name) continue;
      claim(path.string());
      if (slurp(entry.path()) != slurp(dir_ / path)) fail(path.string() + ": differs from the source's");
    }
    for (auto const needed :
         {"tokenizer.json", "tokenizer_config.json", "tokenizer.model", "generation_config.json", "chat_template.jinja"}) {
      if (std::filesystem::exists(model_.dir() / needed) && !std::filesystem::exists(dir_ / needed))
        fail(std::string{needed} + ": is missing");
    }
  }

  /// The manifest is a function of the other files, so it is made again and compared.
  void check_manifest() {
    if (!claim(manifest_file_name)) return;
    std::vector<written_file> files;
    std::string plan;
    for (auto const& entry : std::filesystem::recursive_directory_iterator{dir_}) {
      auto const name = entry.path().lexically_relative(dir_).string();
      if (entry.is_directory() || name == manifest_file_name || files_.contains(name)) continue;
      files.push_back(digest_of(entry.path(), name));
      if (name == plan_file_name) plan = files.back().xxh128;
    }
    if (slurp(dir_ / manifest_file_name) != manifest_text(plan, files, added_)) {
      fail(std::string{manifest_file_name} +
           ": sizes and digests are not those of the files; something was changed after it was written");
    }
  }
  checkpoint const& model_;
  pruning_plan const& plan_;
  std::filesystem::path dir_;
  verify_options const& options_;
  std::map<int, std::vector<int>> kept_;
  expectation expected_;
  std::map<std::string, expectation::tensor> wanted_;
  std::map<std::string, std::string> index_;
  std::set<std::string> shards_, files_;
  std::vector<std::string> added_;
  std::vector<std::ifstream> sources_;
  std::uint64_t total_ = 0;
  verify_report report_;
};

}  // namespace detail
CULL_NAMESPACE_END
