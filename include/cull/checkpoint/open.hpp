// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/count_experts.hpp>
#include <cull/checkpoint/find_family.hpp>
#include <cull/checkpoint/layer_reader.hpp>
#include <cull/checkpoint/model_tree.hpp>
#include <cull/checkpoint/open_shards.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// Opens a checkpoint step by step; see `checkpoint::open`.
class checkpoint_opener {
 public:
  explicit checkpoint_opener(std::filesystem::path dir, open_options options) : options_(std::move(options)) {
    s_->dir = std::move(dir);
    s_->allowed = options_.allowed;
  }

  checkpoint open() {
    namespace fs = std::filesystem;
    if (!fs::is_directory(s_->dir)) {
      throw error{errc::not_found,
                  fs::exists(s_->dir) ? "is a file; give the model's directory" : "there is no such directory",
                  {.file = s_->dir.string()}};
    }
    auto const config = detail::model_tree{s_->dir, options_.allowed}.checked(s_->dir / "config.json");
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
    auto found = detail::shard_opener{s_->dir, s_->family.extra_files, options_.allowed}.open();
    s_->shards = std::move(found.shards);
    s_->tensors = std::move(found.tensors);
    s_->warnings = std::move(found.warnings);
  }

  void find_layers() {
    auto const& of = s_->family;
    family_config const config{of, s_->config};
    s_->hidden_layers = config.number_of_layers();
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
  void check_expert_axes() {
    detail::expert_census census{s_->family};
    for (auto const& t : s_->tensors) {
      auto const place = locate(s_->family, s_->hidden_layers, t.name);
      if (!s_->prefixes.contains(place.layer)) continue;
      census.add(place, t.type);
      auto const axis = expert_axis(s_->family, place, t.shape);
      if (!axis) continue;
      check_whole_rows(t, *axis);
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
    s_->expert_notes = census.notes([&](int layer) { return checkpoint{s_}.experts(layer); });
  }

  /// Rows of the experts are cut by bytes, so each must have whole ones.
  void check_whole_rows(tensor_info const& t, std::size_t axis) const {
    auto row = static_cast<std::uint64_t>(bits(t.type));
    for (std::size_t i = axis + 1; i < t.shape.size(); ++i) row = row * (t.shape[i] % 8) % 8;
    if (row % 8 == 0) return;
    throw error{errc::sub_byte,
                "rows of experts do not fill whole bytes and cannot be cut",
                {.file = s_->dir.string(), .tensor = t.name}};
  }

  void note_silence() {
    family_config const config{s_->family, s_->config};
    for (auto const& key : s_->family.expected) {
      if (!config.find(key))
        s_->warnings.push_back("config.json does not state '" + key + "'; serving engines may assume another router");
    }
  }

  open_options options_;
  std::shared_ptr<checkpoint::state> s_ = std::make_shared<checkpoint::state>();
};

inline checkpoint checkpoint::open(std::filesystem::path dir, open_options options) {
  return checkpoint_opener{std::move(dir), std::move(options)}.open();
}

/// A checkpoint that `apply` or `convert` wrote from `source`: of its family, and with the names that it was allowed.
inline checkpoint open_written(checkpoint const& source, std::filesystem::path const& dir) {
  return checkpoint::open(dir, {.family = source.family(), .allowed = detail::left_after_writing(source.allowed())});
}

CULL_NAMESPACE_END
