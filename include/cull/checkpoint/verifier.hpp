// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/added_files.hpp>
#include <cull/checkpoint/compare_files.hpp>
#include <cull/checkpoint/expected_config.hpp>
#include <cull/checkpoint/expected_files.hpp>
#include <cull/checkpoint/expected_shards.hpp>
#include <cull/checkpoint/expected_tensors.hpp>
#include <cull/checkpoint/json_tree.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/checkpoint/model_tree.hpp>
#include <cull/checkpoint/plan_file.hpp>
#include <cull/checkpoint/shard_checker.hpp>
#include <cull/checkpoint/side_by_side.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

struct verify_options {
  std::function<void(std::uint64_t done, std::uint64_t total)> progress = {};  ///< in bytes of tensors; one call at a time
  std::function<bool()> cancelled = {};
  /// Share of the tensors whose bytes are compared, chosen by their names: a
  /// wrong tensor is found with this probability, m wrong ones with 1 - (1 -
  /// sample)^m. Below 1 the shards' digests are not computed. Everything else
  /// is checked in full.
  double sample = 1;
  int threads = 0;  ///< shards compared side by side; 0: up to 4, as the machine has
};

/// What was proved, and what was found wrong.
struct verify_report {
  std::int64_t files = 0;
  std::int64_t tensors = 0;           ///< compared with the source byte by byte
  std::int64_t expert_tensors = 0;    ///< of them, of routed experts
  std::int64_t all_tensors = 0;       ///< of the plan; more than were compared with a sample
  std::uint64_t bytes = 0;            ///< of tensors, compared with the source one by one
  std::vector<std::string> failures;  ///< each names its file or tensor; empty: the directory is what
                                      ///< plan and source say
};

namespace detail {

/// Reads what was written anew and compares it with the source.
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
    if (plan_.input_scales == input_scales::max) expect_widest_scales();
    for (auto const& [name, t] : wanted_) total_ += t.source->bytes();
    report_.all_tensors = static_cast<std::int64_t>(wanted_.size());
    list_files();
    attempt("the index", [&] { read_index_file(); });
    check_shards();
    check_json("config.json", [&](json const& source) { return expected_json(model_, expected_, kept_, plan_.mtp, source); });
    if (std::filesystem::exists(model_.dir() / "hf_quant_config.json"))
      check_json("hf_quant_config.json", [&](json const& source) { return renamed_json(expected_, source); });
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
      // A directory behind a link is not looked into, so the link must not pass for one.
      if (entry.is_symlink() || !entry.is_directory()) files_.insert(entry.path().lexically_relative(dir_).generic_string());
    }
    report_.files = static_cast<std::int64_t>(files_.size());
  }
  /// Marks a file as accounted for.
  bool claim(std::string const& name) {
    if (files_.erase(name) > 0) return true;
    fail(name + ": is missing");
    return false;
  }

  /// Scales of activations are the widest that any expert of their layer had.
  void expect_widest_scales() {
    std::map<std::string, float> widest;
    for (auto const& t : model_.tensors()) {
      auto const name = expected_.name_of_all_experts(t.name);
      if (!name || t.type != dtype::f32 || t.elements() != 1) continue;
      bool const divides = name->ends_with(".input_global_scale");
      if (!divides && !name->ends_with(".input_scale")) continue;
      float value = 0;
      char bytes[sizeof value];
      plain_file{model_.shards()[static_cast<std::size_t>(t.shard)].path()}.read(t.begin, bytes);
      std::memcpy(&value, bytes, sizeof value);
      auto& best = widest.emplace(*name, value).first->second;
      best = divides ? std::min(best, value) : std::max(best, value);
    }
    for (auto& [now, t] : wanted_) {
      auto const name = expected_.name_of_all_experts(t.source->name);
      if (auto const found = name ? widest.find(*name) : widest.end(); found != widest.end()) t.value = found->second;
    }
  }

  /// A directory of one shard has no index where the source has none, or shards
  /// were cut anew.
  bool needs_index() const {
    if (plan_.shard_bytes == 0) return std::filesystem::exists(model_.dir() / index_file_name);
    return !files_.contains(single_file_name);
  }
  void read_index_file() {
    if (!needs_index()) {
      shards_.insert(single_file_name);
      // Files that the family keeps beside it.
      for (auto const& extra : model_.family().extra_files) {
        if (plan_.shard_bytes == 0 && files_.contains(extra)) shards_.insert(extra);
      }
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
  static std::uint64_t wanted_bytes(expectation::tensor const& t) {
    return t.places.empty() ? t.source->bytes() : t.source->bytes() / t.source->shape[t.axis] * t.places.size();
  }

  /// Each thread takes the next shard; what was found is put together in the
  /// order of their names.
  void check_shards() {
    std::vector<std::string> names;
    for (auto const& shard : shards_) {
      if (claim(shard)) names.push_back(shard);
    }
    std::vector<shard_findings> found(names.size());
    std::atomic<std::size_t> next{0};
    std::vector<std::exception_ptr> problems(names.size());
    shard_checker::rules const rules{expected_, wanted_, [this](auto const& name) { return is_sampled(name); },
                                     [this](std::uint64_t bytes) { advance(bytes); }};
    auto const work = [&] {
      for (std::size_t i = next++; i < names.size(); i = next++) {
        try {
          found[i] = shard_checker{model_, rules, dir_, names[i]}.check();
        } catch (...) {
          problems[i] = std::current_exception();
        }
      }
    };
    side_by_side(std::min(names.size(), threads_or_default(options_.threads)), work);
    for (std::size_t i = 0; i < names.size(); ++i) {
      attempt(names[i], [&] {
        if (problems[i]) std::rethrow_exception(problems[i]);
      });
      by_shard_[names[i]] = std::move(found[i]);
    }
    take_findings();
  }
  bool is_sampled(std::string const& name) const {
    if (options_.sample >= 1) return true;
    hasher hash;
    hash.add(name);
    return static_cast<double>(std::stoul(hash.hex().substr(0, 8), nullptr, 16)) < options_.sample * 4294967296.0;
  }
  void advance(std::uint64_t bytes) {
    std::lock_guard const guard{mutex_};
    if (options_.cancelled && options_.cancelled()) throw error{errc::cancelled, "stopped on request"};
    done_ += bytes;
    if (options_.progress) options_.progress(done_, std::max(done_, total_));
  }

  void take_findings() {
    std::set<std::string> seen;
    for (auto const& [shard, found] : by_shard_) {
      for (auto const& failure : found.failures) fail(failure);
      for (auto const& name : found.tensors) {
        if (!seen.insert(name).second) fail(name + ": in " + shard + ", is there twice");
        auto const at = index_.find(name);
        if (at != index_.end() && at->second != shard) fail(name + ": is in " + shard + ", the index says " + at->second);
      }
      report_.tensors += found.compared;
      report_.expert_tensors += found.experts;
      report_.bytes += found.bytes;
    }
    for (auto const& [name, t] : wanted_) {
      if (!seen.contains(name)) fail(name + ": is missing");
    }
    for (auto& failure : shard_rules{model_, plan_.shard_bytes, by_shard_}.failures()) fail(std::move(failure));
  }

  /// A file that is the source's, but for what pruning changes in it.
  template <class Expected>
  void check_json(std::string const& name, Expected const& expected) {
    attempt(name, [&] {
      if (!claim(name)) return;
      json const wanted = expected(parse_json(slurp(model_.dir() / name), name));
      auto const found = parse_json(slurp(dir_ / name), name);
      if (found != wanted) fail(name + ": differs from what source and plan say: " + json::diff(found, wanted).dump());
    });
  }

  void check_plan() {
    if (!claim(plan_file_name)) return;
    auto const written = load_plan(dir_ / plan_file_name);
    bool const same_options = written.input_scales == plan_.input_scales && written.shard_bytes == plan_.shard_bytes &&
                              written.data_digest == plan_.data_digest;
    if (written.layers != plan_.layers || !(written.mtp == plan_.mtp) || written.model_digest != model_.digest() ||
        !same_options) {
      fail(std::string{plan_file_name} + ": is another plan");
    }
  }

  /// What the manifest lists as added: cards and the like, under names that are not the model's.
  void check_added_files() {
    if (!files_.contains(manifest_file_name)) return;
    added_ = added_names(read_manifest(dir_));
    auto const theirs = files_taken_over(model_.dir());
    for (auto const& name : added_) {
      if (!may_be_added(name)) {
        fail(name + ": is listed as added, and a file of that name never is");
      } else if (claim(name)) {
        auto const problem = find_lost_source(model_.dir(), theirs, dir_, name);
        if (!problem.empty()) fail(problem);
      }
    }
  }

  /// All that `apply` takes over, and nothing else that the source has.
  void check_side_files() {
    model_tree const tree{model_.dir(), model_.allowed()};
    for (auto const& name : files_taken_over(model_.dir())) {
      // An added file was looked at already, and stands for the source's of that name.
      if (std::find(added_.begin(), added_.end(), name) != added_.end()) continue;
      attempt(name, [&] {
        if (claim(name) && !same_content(tree.checked(model_.dir() / name), dir_ / name))
          fail(name + ": differs from the source's");
      });
    }
  }

  /// The manifest is a function of the other files, so it is made again and
  /// compared.
  void check_manifest() {
    if (!claim(manifest_file_name)) return;
    auto const text = slurp(dir_ / manifest_file_name);
    auto const root = parse_json(text, manifest_file_name);
    std::vector<written_file> files;
    std::string plan;
    for (auto const& entry : std::filesystem::recursive_directory_iterator{dir_}) {
      auto const name = entry.path().lexically_relative(dir_).generic_string();
      if (entry.is_directory() || name == manifest_file_name || files_.contains(name)) continue;
      files.push_back(digest_for_manifest(root, name));
      if (name == plan_file_name) plan = files.back().xxh128;
    }
    if (text != manifest_text(plan, files, added_)) {
      fail(std::string{manifest_file_name} +
           ": sizes and digests are not those of the files; something was "
           "changed after it was written");
    }
  }
  /// Shards have been digested while they were compared; with a sample their
  /// digest is believed.
  written_file digest_for_manifest(json const& manifest, std::string const& name) const {
    auto const shard = by_shard_.find(name);
    if (shard == by_shard_.end()) return digest_of(dir_ / name, name);
    auto out = shard->second.file;
    if (out.xxh128.empty() && options_.sample < 1) out.xxh128 = manifest.at("files").at(name).at("xxh128").get<std::string>();
    return out.xxh128.empty() ? digest_of(dir_ / name, name) : out;
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
  std::map<std::string, shard_findings> by_shard_;
  std::mutex mutex_;
  std::uint64_t total_ = 0, done_ = 0;
  verify_report report_;
};

}  // namespace detail
CULL_NAMESPACE_END
