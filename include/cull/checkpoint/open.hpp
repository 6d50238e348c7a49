// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/count_experts.hpp>
#include <cull/checkpoint/find_family.hpp>
#include <cull/checkpoint/layer_reader.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// Opens a checkpoint step by step; see `checkpoint::open`.
class checkpoint_opener {
 public:
  explicit checkpoint_opener(std::filesystem::path dir, open_options options) : options_(std::move(options)) {
    s_->dir = std::move(dir);
  }

  checkpoint open() {
    namespace fs = std::filesystem;
    if (!fs::is_directory(s_->dir)) {
      throw error{errc::not_found,
                  fs::exists(s_->dir) ? "is a file; give the model's directory" : "there is no such directory",
                  {.file = s_->dir.string()}};
    }
    auto const config = s_->dir / "config.json";
    s_->config = config_view{detail::read_text(config), config.string()};
    s_->family = options_.family ? *options_.family : find_family(s_->config);
    s_->router = read_router(s_->family, s_->config);
    open_shards();
    find_layers();
    s_->experts = detail::count_experts(s_->family, s_->config);
    s_->listed_experts = detail::list_experts(s_->family, s_->config);
    check_listed();
    check_expert_axes();
    note_silence();
    return checkpoint{s_};
  }

 private:
  void open_shards() {
    auto const index_path = s_->dir / index_file_name;
    bool const has_index = std::filesystem::exists(index_path);
    auto const index = has_index ? read_index(index_path) : shard_index{};
    std::set<std::string> names;
    for (auto const& [tensor, shard] : index.weight_map) names.insert(shard);
    if (!has_index) names.insert(single_file_name);
    for (auto const& extra : s_->family.extra_files) {
      if (!names.contains(extra) && std::filesystem::is_regular_file(s_->dir / extra)) extras_.insert(extra);
    }
    names.insert(extras_.begin(), extras_.end());
    for (auto const& name : names) {
      auto const& file = s_->shards.emplace_back(s_->dir / name);
      for (auto info : file.tensors()) {
        info.shard = static_cast<int>(s_->shards.size()) - 1;
        s_->tensors.push_back(std::move(info));
      }
    }
    std::stable_sort(s_->tensors.begin(), s_->tensors.end(), [](auto const& a, auto const& b) { return a.name < b.name; });
    check_unique();
    if (has_index) check_index(index, index_path.string());
    note_strangers(names);
  }

  void check_unique() const {
    auto const twice =
        std::adjacent_find(s_->tensors.begin(), s_->tensors.end(), [](auto const& a, auto const& b) { return a.name == b.name; });
    if (twice == s_->tensors.end()) return;
    throw error{errc::bad_index,
                "is in two shards, " + shard_name(*twice) + " and " + shard_name(*(twice + 1)),
                {.file = s_->dir.string(), .tensor = twice->name}};
  }

  void check_index(shard_index const& index, std::string const& file) {
    std::uint64_t total = 0;
    std::size_t indexed = 0;
    for (auto const& t : s_->tensors) {
      if (extras_.contains(shard_name(t))) continue;
      ++indexed;
      total += t.bytes();
      auto const found = index.weight_map.find(t.name);
      if (found == index.weight_map.end())
        throw error{errc::bad_index, "is in " + shard_name(t) + " but not in the index", {.file = file, .tensor = t.name}};
      if (found->second != shard_name(t)) {
        throw error{
            errc::bad_index, "is in " + shard_name(t) + ", the index says " + found->second, {.file = file, .tensor = t.name}};
      }
    }
    if (index.weight_map.size() != indexed) {
      for (auto const& [tensor, shard] : index.weight_map) {
        if (detail::find_tensor(s_->tensors, tensor) == nullptr) {
          throw error{errc::bad_index, "is in the index but not in " + shard, {.file = file, .tensor = tensor}};
        }
      }
    }
    if (index.total_size && *index.total_size != total) {
      s_->warnings.push_back("the index's total_size is " + std::to_string(*index.total_size) + ", the tensors take " +
                             std::to_string(total) + " bytes");
    }
  }

  void note_strangers(std::set<std::string> const& names) {
    for (auto const& entry : std::filesystem::directory_iterator{s_->dir}) {
      auto const name = entry.path().filename().string();
      if (name.ends_with(".safetensors") && !names.contains(name))
        s_->warnings.push_back(name + " belongs to no index and is ignored");
    }
    std::sort(s_->warnings.begin(), s_->warnings.end());
  }

  void find_layers() {
    auto const& of = s_->family;
    family_config const config{of, s_->config};
    s_->hidden_layers = static_cast<int>(config.number_of_layers());
    for (auto const& t : s_->tensors) {
      auto const place = locate(of, s_->hidden_layers, t.name);
      if (place.layer >= 0 && place.expert < 0 && place.rest == of.router) s_->prefixes.emplace(place.layer, place.prefix);
    }
    for (auto const& [layer, prefix] : s_->prefixes) s_->moe_layers.push_back(layer);
    if (s_->moe_layers.empty()) {
      throw error{errc::unsupported_model,
                  "no layer has a router called '" + of.router + "', as the family " + of.name + " should",
                  {.file = s_->dir.string()}};
    }
    auto const mtp = static_cast<std::int64_t>(checkpoint{s_}.mtp_layers().size());
    if (auto const said = config.integer(of.mtp_key, 0); said != mtp) {
      s_->warnings.push_back("config.json says " + of.mtp_key + " = " + std::to_string(said) + ", the tensors have " +
                             std::to_string(mtp));
    }
  }

  /// A list of counts has an entry for every MoE layer.
  void check_listed() const {
    for (int const layer : s_->moe_layers) {
      auto const at = static_cast<std::size_t>(layer);
      if (s_->listed_experts.empty() || (at < s_->listed_experts.size() && s_->listed_experts[at] > 0)) continue;
      throw error{errc::bad_config,
                  "'" + s_->family.per_layer_key + "' has no number of experts for layer " + std::to_string(layer),
                  {.file = s_->config.file()}};
    }
  }

  /// Every tensor that has an axis of experts has as many as config.json says; routers have rows for zero-compute ones too.
  void check_expert_axes() const {
    for (auto const& t : s_->tensors) {
      auto const place = locate(s_->family, s_->hidden_layers, t.name);
      if (!s_->prefixes.contains(place.layer)) continue;
      auto const axis = expert_axis(s_->family, place, t.shape);
      if (!axis) continue;
      auto const wanted =
          static_cast<std::uint64_t>(checkpoint{s_}.experts(place.layer)) +
          (relation_of(s_->family, place) == expert_relation::router ? static_cast<std::uint64_t>(s_->router.zero_experts)
                                                                     : std::uint64_t{0});
      auto const found = *axis < t.shape.size() ? t.shape[*axis] : std::uint64_t{0};
      if (found == wanted) continue;
      throw error{errc::bad_config,
                  "has " + std::to_string(found) + " rows, config.json says " + std::to_string(wanted) + " experts",
                  {.file = s_->dir.string(), .tensor = t.name}};
    }
  }

  void note_silence() {
    family_config const config{s_->family, s_->config};
    for (auto const& key : s_->family.expected) {
      if (!config.find(key))
        s_->warnings.push_back("config.json does not state '" + key + "'; serving engines may assume another router");
    }
  }

  std::string shard_name(tensor_info const& t) const {
    return s_->shards[static_cast<std::size_t>(t.shard)].path().filename().string();
  }

  open_options options_;
  std::set<std::string> extras_;  ///< files of the model that its index leaves out
  std::shared_ptr<checkpoint::state> s_ = std::make_shared<checkpoint::state>();
};

inline checkpoint checkpoint::open(std::filesystem::path dir, open_options options) {
  return checkpoint_opener{std::move(dir), std::move(options)}.open();
}

CULL_NAMESPACE_END
