// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/input_scales.hpp>
#include <cull/checkpoint/model_tree.hpp>
#include <cull/checkpoint/output_layout.hpp>
#include <cull/checkpoint/plan.hpp>
#include <cull/checkpoint/plan_file.hpp>
#include <cull/checkpoint/rewrite_config.hpp>
#include <cull/checkpoint/shard_collector.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// What `apply` writes.
struct pruned_layout : output_layout {
  std::map<int, std::vector<int>> kept;         ///< experts of each layer
  std::map<int, std::vector<int>> router_rows;  ///< the same, and the rows of zero-compute experts
};

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
      for (int zero = 0; zero < model_.router().zero_experts; ++zero) rows.push_back(model_.experts(layer) + zero);
    }
    mtp_ = model_.mtp_layers();
    bool const drops_mtp = plan_.mtp.what == mtp_policy::kind::drop;
    names_ = {&model_.family(),
              &out.kept,
              model_.experts(),
              most_kept(out.kept),
              model_.hidden_layers(),
              drops_mtp,
              {},
              model_.hidden_layers() + (drops_mtp ? 0 : static_cast<int>(mtp_.size()))};
    if (are_unequal(out.kept) || are_unequal(model_.expert_counts())) names_.per_layer = counts_of(out.kept);
    if (plan_.input_scales == input_scales::max) widest_ = widest_input_scales(model_, out.kept);
    out.shards = lay_out_shards();
    out.ledger = ledger_of(model_, out.shards);
    add_texts();
    find_side_files(model_, out);
    out.bytes = total_bytes(model_, out);
  }

 private:
  static int most_kept(std::map<int, std::vector<int>> const& kept) {
    std::size_t out = 0;
    for (auto const& [layer, ids] : kept) out = std::max(out, ids.size());
    return static_cast<int>(out);
  }
  static std::map<int, int> counts_of(std::map<int, std::vector<int>> const& kept) {
    std::map<int, int> out;
    for (auto const& [layer, ids] : kept) out[layer] = static_cast<int>(ids.size());
    return out;
  }
  static bool are_unequal(std::vector<int> const& counts) {
    return std::adjacent_find(counts.begin(), counts.end(), std::not_equal_to<>{}) != counts.end();
  }
  static bool are_unequal(std::map<int, std::vector<int>> const& kept) {
    return std::any_of(kept.begin(), kept.end(),
                       [&](auto const& each) { return each.second.size() != kept.begin()->second.size(); });
  }

  /// The tensor under its new name and shape, or nothing where it is dropped.
  std::optional<std::pair<tensor_info, tensor_origin>> survivor(tensor_info const& t) const {
    auto const place = model_.place_of(t.name);
    if (names_.mtp_dropped && std::find(mtp_.begin(), mtp_.end(), place.layer) != mtp_.end()) return std::nullopt;
    std::pair out{tensor_info{t.name, t.type, t.shape}, tensor_origin{.source = &t}};
    auto const kept = names_.kept->find(place.layer);
    if (kept == names_.kept->end()) return out;
    if (place.expert >= 0) {
      auto const number = new_number(names_, place.layer, place.expert);
      if (!number) return std::nullopt;
      out.first.name = std::string{place.prefix}.append(numbered(model_.family().experts, *number)).append(place.rest);
      auto const widest = widest_.empty() ? widest_.end() : widest_.find({place.layer, std::string{place.rest}});
      if (widest != widest_.end()) out.second.made = bytes_of(widest->second);
    } else if (auto const axis = expert_axis(model_.family(), place, t.shape)) {
      bool const router = relation_of(model_.family(), place) == expert_relation::router;
      auto const& places = router ? out_->router_rows.at(place.layer) : kept->second;
      out.first.shape[*axis] = places.size();
      out.second = {.source = &t, .places = &places, .axis = *axis};
    }
    return out;
  }

  static std::shared_ptr<made_bytes const> bytes_of(float value) {
    return std::make_shared<made_bytes>(made_bytes{{}, {reinterpret_cast<char const*>(&value), sizeof value}});
  }

  std::vector<output_shard> lay_out_shards() const {
    shard_collector out{model_, plan_.shard_bytes};
    for (auto const& t : model_.tensors()) {
      if (auto found = survivor(t)) out.add(t.shard, std::move(found->first), std::move(found->second));
    }
    return std::move(out).shards();
  }

  void add_texts() {
    out_->texts.push_back({"config.json", rewrite_config(names_, model_.config().text(), model_.config().file())});
    model_tree const tree{model_.dir(), model_.allowed()};
    auto const quant = model_.dir() / "hf_quant_config.json";
    if (std::filesystem::exists(quant)) {
      out_->texts.push_back(
          {"hf_quant_config.json", rewrite_quant_config(names_, read_text(tree.checked(quant)), quant.string())});
    }
    auto const index = model_.dir() / index_file_name;
    bool const indexed = std::filesystem::exists(index);
    if (plan_.shard_bytes == 0 ? indexed : out_->shards.size() > 1)
      out_->texts.push_back({index_file_name, index_text(*out_, indexed ? index_frame::read(index) : index_frame{})});
    auto plan = plan_;
    plan.model_digest = model_.digest();
    out_->texts.push_back({plan_file_name, to_json(plan)});
  }

  checkpoint const& model_;
  pruning_plan const& plan_;
  pruned_layout* out_ = nullptr;
  renaming names_;
  std::vector<int> mtp_;
  std::map<scale_key, float> widest_;
};

}  // namespace detail

/// Lays out the pruned checkpoint. Valid as long as `model`. Throws what
/// `keep_sets` and config edits throw.
inline std::unique_ptr<pruned_layout> lay_out(checkpoint const& model, pruning_plan const& plan) {
  auto out = std::make_unique<pruned_layout>();
  detail::layout_maker{model, plan}.fill(*out);
  return out;
}

/// Bytes by role that `apply` would write, from headers alone.
inline ledger predict(checkpoint const& model, pruning_plan const& plan) { return lay_out(model, plan)->ledger; }

CULL_NAMESPACE_END
