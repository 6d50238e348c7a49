// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/file_layout.hpp>
#include <cull/checkpoint/plan.hpp>
#include <cull/checkpoint/plan_file.hpp>
#include <cull/checkpoint/rewrite_config.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// Where a tensor of the output comes from: a whole tensor of the source, or some places of one axis.
struct tensor_origin {
  tensor_info const* source = nullptr;
  std::vector<int> const* places = nullptr;  ///< null: all
  std::size_t axis = 0;
};

/// One safetensors file of the output.
struct pruned_shard {
  std::string name;
  file_layout layout;
  std::vector<tensor_origin> origins;  ///< beside `layout.tensors`
};

/// A file of the output that is written as text.
struct text_file {
  std::string name;
  std::string text;
};

/// Everything about the output before a byte is written: a pure function of headers, config and plan. Refers to the checkpoint.
struct pruned_layout {
  std::map<int, std::vector<int>> kept;         ///< experts of each layer
  std::map<int, std::vector<int>> router_rows;  ///< the same, and the rows of zero-compute experts
  std::vector<pruned_shard> shards;
  std::vector<text_file> texts;                    ///< config.json, hf_quant_config.json, index, plan
  std::vector<std::filesystem::path> side_files;   ///< relative; copied as they are
  std::vector<std::filesystem::path> left_behind;  ///< weights that are not part of the model
  cull::ledger ledger;
  std::uint64_t bytes = 0;  ///< of all files but the manifest
};

inline constexpr char plan_file_name[] = "cull-plan.json";
inline constexpr char manifest_file_name[] = "cull-manifest.json";

namespace detail {

class layout_maker {
 public:
  layout_maker(checkpoint const& model, pruning_plan const& plan) : model_(model), plan_(plan) {}

  /// Fills a layout in place, since origins refer to its keep-sets.
  void fill(pruned_layout& out) {
    out_ = &out;
    out.kept = keep_sets(model_, plan_);
    out.router_rows = out.kept;
    for (auto& [layer, rows] : out.router_rows) {
      for (int zero = 0; zero < model_.router().zero_experts; ++zero) rows.push_back(model_.experts() + zero);
    }
    names_ = {&model_.family(), &out.kept, model_.experts(), static_cast<int>(out.kept.begin()->second.size()),
              model_.hidden_layers(), plan_.mtp.what == mtp_policy::kind::drop};
    mtp_ = model_.mtp_layers();
    lay_out_shards();
    std::vector<tensor_info> all;
    for (auto const& shard : out.shards) all.insert(all.end(), shard.layout.tensors.begin(), shard.layout.tensors.end());
    out.ledger = make_ledger(model_.family(), model_.hidden_layers(), all);
    add_texts();
    find_side_files();
    for (auto const& shard : out.shards) out.bytes += shard.layout.size;
    for (auto const& text : out.texts) out.bytes += text.text.size();
    for (auto const& path : out.side_files) out.bytes += std::filesystem::file_size(model_.dir() / path);
  }

 private:
  /// The tensor under its new name and shape, or nothing where it is dropped.
  std::optional<std::pair<tensor_info, tensor_origin>> survivor(tensor_info const& t) const {
    auto const place = model_.place_of(t.name);
    if (names_.mtp_dropped && std::find(mtp_.begin(), mtp_.end(), place.layer) != mtp_.end()) return std::nullopt;
    std::pair out{tensor_info{t.name, t.type, t.shape}, tensor_origin{&t}};
    auto const kept = names_.kept->find(place.layer);
    if (kept == names_.kept->end()) return out;
    if (place.expert >= 0) {
      auto const number = new_number(names_, place.layer, place.expert);
      if (!number) return std::nullopt;
      out.first.name = place.prefix + numbered(model_.family().experts, *number) + place.rest;
    } else if (auto const axis = expert_axis(model_.family(), place, t.shape)) {
      bool const router = relation_of(model_.family(), place) == expert_relation::router;
      auto const& places = router ? out_->router_rows.at(place.layer) : kept->second;
      out.first.shape[*axis] = places.size();
      out.second = {&t, &places, *axis};
    }
    return out;
  }

  void lay_out_shards() {
    std::vector<std::vector<tensor_info>> tensors(model_.shards().size());
    std::vector<std::map<std::string, tensor_origin>> origins(model_.shards().size());
    for (auto const& t : model_.tensors()) {
      auto found = survivor(t);
      if (!found) continue;
      origins[static_cast<std::size_t>(t.shard)].emplace(found->first.name, found->second);
      tensors[static_cast<std::size_t>(t.shard)].push_back(std::move(found->first));
    }
    for (std::size_t s = 0; s < tensors.size(); ++s) {
      if (tensors[s].empty()) continue;
      auto metadata = model_.shards()[s].metadata();
      metadata.emplace("format", "pt");  // transformers refuses files without it
      pruned_shard shard{model_.shards()[s].path().filename().string(), cull::lay_out(metadata, std::move(tensors[s])), {}};
      for (auto const& t : shard.layout.tensors) shard.origins.push_back(origins[s].at(t.name));
      out_->shards.push_back(std::move(shard));
    }
  }

  void add_texts() {
    out_->texts.push_back({"config.json", rewrite_config(names_, model_.config().text(), model_.config().file())});
    auto const quant = model_.dir() / "hf_quant_config.json";
    if (std::filesystem::exists(quant)) {
      out_->texts.push_back({"hf_quant_config.json", rewrite_quant_config(names_, read_text(quant), quant.string())});
    }
    auto const index = model_.dir() / index_file_name;
    if (std::filesystem::exists(index)) out_->texts.push_back({index_file_name, index_text(read_text(index), index.string())});
    auto plan = plan_;
    plan.model_digest = model_.digest();
    out_->texts.push_back({plan_file_name, to_json(plan)});
  }

  /// The index as transformers writes it; metadata of the source stays, its last newline or none too, total_size is computed.
  std::string index_text(std::string const& source, std::string const& file) const {
    auto root = parse_json(source, file);
    auto map = json::object();
    for (auto const& shard : out_->shards) {
      for (auto const& t : shard.layout.tensors) map[t.name] = shard.name;
    }
    root["metadata"]["total_size"] = out_->ledger.bytes;
    root["weight_map"] = std::move(map);
    return root.dump(2, ' ', true) + (source.ends_with('\n') ? "\n" : "");
  }

  void find_side_files() {
    namespace fs = std::filesystem;
    for (fs::recursive_directory_iterator at{model_.dir()}, end; at != end; ++at) {
      auto const path = at->path().lexically_relative(model_.dir());
      auto const name = path.filename().string();
      if (name.starts_with('.')) {
        if (at->is_directory()) at.disable_recursion_pending();
      } else if (at->is_regular_file()) {
        sort_side_file(path, path.extension().string());
      }
    }
    std::sort(out_->side_files.begin(), out_->side_files.end());
    std::sort(out_->left_behind.begin(), out_->left_behind.end());
  }

  void sort_side_file(std::filesystem::path const& path, std::string const& extension) {
    auto const is = [&](auto const& shard) { return path == shard.path().filename(); };
    bool const written = std::any_of(out_->texts.begin(), out_->texts.end(), [&](auto const& t) { return path == t.name; }) ||
                         path == manifest_file_name;
    if (written || std::any_of(model_.shards().begin(), model_.shards().end(), is)) return;
    bool const weights =
        extension == ".safetensors" || extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".gguf";
    (weights ? out_->left_behind : out_->side_files).push_back(path);
  }

  checkpoint const& model_;
  pruning_plan const& plan_;
  pruned_layout* out_ = nullptr;
  renaming names_;
  std::vector<int> mtp_;
};

}  // namespace detail

/// Lays out the pruned checkpoint. Valid as long as `model`. Throws what `keep_sets` and config edits throw.
inline std::unique_ptr<pruned_layout const> lay_out(checkpoint const& model, pruning_plan const& plan) {
  auto out = std::make_unique<pruned_layout>();
  detail::layout_maker{model, plan}.fill(*out);
  return out;
}

/// Bytes by role that `apply` would write, from headers alone.
inline ledger predict(checkpoint const& model, pruning_plan const& plan) { return lay_out(model, plan)->ledger; }

CULL_NAMESPACE_END
