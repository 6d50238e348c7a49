// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/directory_names.hpp>
#include <cull/checkpoint/index.hpp>
#include <cull/checkpoint/leniency.hpp>
#include <cull/checkpoint/model_tree.hpp>
#include <cull/checkpoint/order.hpp>
#include <cull/checkpoint/safetensors_file.hpp>
#include <cull/checkpoint/source_file.hpp>
#include <cull/checkpoint/tensor_info.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// The safetensors files of a model: their order, and all tensors by name.
struct shard_set {
  std::vector<safetensors_shard> shards;  ///< ascending by file name
  std::vector<tensor_info> tensors;       ///< ascending by name
  std::vector<std::string> warnings;
};

/// Opens the files of a model and holds what the index says against what the files say. Names never tell which files there are.
class shard_opener {
 public:
  /// `extra_files`: files of the family that an index may leave out.
  shard_opener(std::filesystem::path const& dir, std::vector<std::string> const& extra_files, leniency const& allowed)
      : tree_(dir, allowed), dir_(dir), allowed_(allowed), index_path_(dir / index_file_name) {
    has_index_ = std::filesystem::exists(std::filesystem::symlink_status(index_path_));
    if (has_index_) index_ = read_index(tree_.checked(index_path_), allowed);
    names_ =
        has_index_ ? std::set<std::string>{index_.shards.begin(), index_.shards.end()} : std::set<std::string>{single_file_name};
    for (auto const& extra : extra_files) {
      if (!names_.contains(extra) && std::filesystem::is_regular_file(dir / extra)) extras_.insert(extra);
    }
    names_.insert(extras_.begin(), extras_.end());
  }

  shard_set open() {
    if (has_index_) check_shards_exist();
    out_.warnings = index_.warnings;
    for (auto const& name : names_) open_one(name);
    // Stable: of two with the same name, that of the first file comes first.
    sort_runs(out_.tensors, [](auto const& a, auto const& b) { return a.name < b.name; });
    settle_duplicates();
    if (has_index_) check_index();
    note_strangers();
    std::sort(out_.warnings.begin(), out_.warnings.end());
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(errc code, std::string const& why, std::string const& tensor) const {
    throw error{
        code, why, {.file = index_path_.string(), .tensor = tensor, .json_pointer = "/weight_map" + pointer_step(tensor)}};
  }

  void check_shards_exist() const {
    std::vector<std::string> missing;
    for (auto const& name : index_.shards) {
      if (!std::filesystem::exists(std::filesystem::symlink_status(dir_ / name)) || !points_somewhere(dir_ / name))
        missing.push_back(name);
    }
    if (missing.empty()) return;
    std::sort(missing.begin(), missing.end());
    throw error{errc::missing_shard,
                std::to_string(missing.size()) + " of the " + std::to_string(index_.shards.size()) +
                    " files that the index names are not there; the first is " + printable(missing.front()) +
                    "; download the rest",
                {.file = index_path_.string()}};
  }
  /// A link to nothing, as of a cache whose data is gone; an endless link is told by opening it.
  static bool points_somewhere(std::filesystem::path const& path) {
    std::error_code problem;
    return std::filesystem::exists(path, problem) || problem;
  }

  void open_one(std::string const& name) {
    source_file const file{tree_.checked(dir_ / name)};
    auto header =
        read_safetensors_header([&](auto from, auto to) { file.read(from, to); }, file.size(), file.path().string(), allowed_);
    if (header.trailing_bytes > 0) {
      out_.warnings.push_back(name + ": " + std::to_string(header.trailing_bytes) +
                              " bytes behind the last tensor belong to none and are ignored");
    }
    for (auto& t : header.tensors) {
      t.shard = static_cast<int>(out_.shards.size());
      out_.tensors.push_back(std::move(t));
    }
    out_.shards.emplace_back(file, std::move(header));
  }

  void settle_duplicates() {
    auto const same = [](auto const& a, auto const& b) { return a.name == b.name; };
    auto twice = std::adjacent_find(out_.tensors.begin(), out_.tensors.end(), same);
    if (twice == out_.tensors.end()) return;
    auto const* const indexed = index_.find(twice->name);
    if (!allowed_.duplicate_tensors || indexed == nullptr) {
      throw error{errc::duplicate_tensor,
                  "is in two files, " + shard_name(*twice) + " and " + shard_name(*(twice + 1)) +
                      (indexed == nullptr ? "" : "; the index names " + index_.shards[indexed->shard]),
                  {.file = dir_.string(), .tensor = twice->name}};
    }
    std::set<std::string_view> repeated;
    for (; twice != out_.tensors.end(); twice = std::adjacent_find(twice + 1, out_.tensors.end(), same))
      repeated.insert(twice->name);
    auto const ignored = [&](tensor_info const& t) {
      auto const* const at = repeated.contains(t.name) ? index_.find(t.name) : nullptr;
      return at != nullptr && index_.shards[at->shard] != shard_name(t);
    };
    std::vector<tensor_info> kept;
    std::size_t dropped = 0;
    for (auto const& t : out_.tensors) {
      if (ignored(t)) {
        ++dropped;
      } else {
        kept.push_back(t);
      }
    }
    out_.warnings.push_back(std::to_string(dropped) + " tensors lie in a second file too, which is ignored");
    out_.tensors = std::move(kept);
    auto const still = std::adjacent_find(out_.tensors.begin(), out_.tensors.end(), same);
    if (still != out_.tensors.end())
      throw error{errc::duplicate_tensor, "is in two files", {.file = dir_.string(), .tensor = still->name}};
  }

  void check_index() {
    std::uint64_t total = 0;
    std::size_t indexed = 0, adopted = 0;
    std::string first_adopted;
    std::vector<std::string> names;
    for (auto const& shard : out_.shards) names.push_back(shard.path().filename().string());
    // Both lists ascend by name.
    auto entry = index_.tensors.begin();
    for (auto const& t : out_.tensors) {
      auto const& name = names[static_cast<std::size_t>(t.shard)];
      if (!extras_.empty() && extras_.contains(name)) continue;
      total += t.bytes();
      while (entry != index_.tensors.end() && entry->tensor < t.name) ++entry;
      if (entry == index_.tensors.end() || entry->tensor != t.name) {
        if (adopted++ == 0) first_adopted = t.name;
        continue;
      }
      ++indexed;
      if (index_.shards[entry->shard] != name)
        refuse(errc::wrong_shard, "is in " + name + ", the index says " + index_.shards[entry->shard], t.name);
    }
    if (indexed != index_.tensors.size()) refuse_missing(index_.tensors.size() - indexed);
    if (adopted > 0) note_adopted(adopted, first_adopted);
    if (index_.total_size && *index_.total_size != total) {
      out_.warnings.push_back("the index's total_size is " + std::to_string(*index_.total_size) + ", the tensors take " +
                              std::to_string(total) + " bytes");
    }
  }
  [[noreturn]] void refuse_missing(std::size_t count) const {
    for (auto const& [tensor, shard] : index_.tensors) {
      auto const* const found = find_tensor(out_.tensors, tensor);
      if (found != nullptr && !extras_.contains(shard_name(*found))) continue;
      refuse(
          errc::missing_tensor,
          "is in the index but not in " + index_.shards[shard] + "; " + std::to_string(count) + " such tensors; download again",
          tensor);
    }
    throw error{errc::missing_tensor, "names tensors that are not there", {.file = index_path_.string()}};
  }
  void note_adopted(std::size_t count, std::string const& first) {
    auto const text = std::to_string(count) + " tensors lie in the files and not in the index";
    if (!allowed_.adopt_unindexed) {
      refuse(errc::unindexed_tensor,
             "is in " + shard_name(*find_tensor(out_.tensors, first)) + " but not in the index; " + text +
                 "; allow adopt-unindexed to take them",
             first);
    }
    out_.warnings.push_back(text + " and are adopted");
  }

  void note_strangers() {
    for (auto const& name : names_in(dir_)) {
      if (name.ends_with(".safetensors") && !names_.contains(name))
        out_.warnings.push_back(name + " belongs to no index and is ignored");
    }
  }

  std::string shard_name(tensor_info const& t) const {
    return out_.shards[static_cast<std::size_t>(t.shard)].path().filename().string();
  }

  model_tree tree_;
  std::filesystem::path dir_;
  leniency allowed_;
  std::filesystem::path index_path_;
  bool has_index_ = false;
  shard_index index_;
  std::set<std::string> names_, extras_;
  shard_set out_;
};

}  // namespace detail
CULL_NAMESPACE_END
