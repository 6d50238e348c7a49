// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/selection/select.hpp>

CULL_NAMESPACE_BEGIN

/// What becomes of the MTP layers: pruned by their own scores, dropped, or
/// pruned by another layer's keep-set.
struct mtp_policy {
  enum class kind { own, drop, copy };
  kind what = kind::own;
  int layer = 0;  ///< whose keep-set to copy

  static mtp_policy own() { return {}; }
  static mtp_policy drop() { return {kind::drop, 0}; }
  static mtp_policy copy(int layer) { return {kind::copy, layer}; }
  friend bool operator==(mtp_policy const&, mtp_policy const&) = default;
};

/// How clear a layer's cut was; for people, `apply` does not look at it. What is not known is empty.
struct cut_note {
  double margin = 0;
  std::vector<int> tied;
  std::vector<int> never_chosen;
  std::vector<int> unsettled = {};                 ///< statistically tied at the cut
  std::vector<int> starving = {};                  ///< routed few tokens
  std::vector<int> rescued = {};                   ///< kept by a protection, not by their score
  std::optional<double> sequences_to_settle = {};  ///< as in `cut_uncertainty`
  std::optional<double> mass_dropped = {};         ///< share of the layer's scores
  std::optional<double> traffic_dropped = {};      ///< share of its routed tokens' weight
};

/// What becomes of the scales of activations: each expert's own, or the widest
/// that any expert of the layer had before pruning, by which serving engines
/// went; see `lost_input_scales`.
enum class input_scales { keep, max };

/// Which experts of which layer stay: everything that `apply` needs beside the
/// model.
struct pruning_plan {
  std::string model_digest;  ///< empty: made elsewhere, for any model it fits
  std::string data_digest;   ///< of the observation it was made from; see `data_digest`
  std::string criterion;     ///< for people
  mtp_policy mtp;
  std::map<int, std::vector<int>> layers;  ///< kept original ids, ascending
  std::map<int, cut_note> notes;
  cull::input_scales input_scales = cull::input_scales::keep;
  std::uint64_t shard_bytes = 0;  ///< most bytes of tensors in a shard of the
                                  ///< output; 0: the source's shards
};

struct plan_options {
  std::string criterion = {};
  mtp_policy mtp = {};
  std::string data_digest = {};
};

namespace detail {

[[noreturn]] inline void refuse_plan(std::string const& why) { throw error{errc::bad_plan, "plan: " + why}; }

inline void check_keep_set(checkpoint const& model, int layer, std::vector<int> const& kept) {
  auto const at = "layer " + std::to_string(layer) + ": ";
  for (std::size_t i = 0; i < kept.size(); ++i) {
    if (kept[i] < 0 || kept[i] >= model.experts(layer)) {
      refuse_plan(at + "expert " + std::to_string(kept[i]) + " does not exist, there are " +
                  std::to_string(model.experts(layer)));
    }
    if (i > 0 && kept[i] <= kept[i - 1])
      refuse_plan(at + "ids must ascend, " + std::to_string(kept[i]) + " follows " + std::to_string(kept[i - 1]));
  }
  auto const& r = model.router();
  int const groups = std::max(1, r.groups);
  int const count = static_cast<int>(kept.size());
  if (count < r.top_k || count / groups * std::min(groups, std::max(1, r.top_groups)) < r.top_k) {
    refuse_plan(at + std::to_string(count) + " experts are too few for a router that chooses " + std::to_string(r.top_k));
  }
  if (model.experts(layer) % groups != 0) {
    refuse_plan(at + "the model's " + std::to_string(model.experts(layer)) + " experts do not divide into its router's " +
                std::to_string(groups) + " groups");
  }
  int const group_size = model.experts(layer) / groups;
  std::vector<int> per_group(static_cast<std::size_t>(groups));
  for (int const id : kept) ++per_group[static_cast<std::size_t>(id / group_size)];
  if (count % groups != 0 || std::any_of(per_group.begin(), per_group.end(), [&](int n) { return n != count / groups; })) {
    refuse_plan(at + "each of the router's " + std::to_string(groups) + " groups must keep the same number of experts");
  }
  if (groups > 1 && count / groups < 2) refuse_plan(at + "a group needs at least two experts");
}

}  // namespace detail

/// The keep-set of every MoE layer that the output has, the MTP policy applied. Throws `errc::bad_plan` where the plan does not
/// fit the model: another model, missing or unknown layers, ids, counts that differ between layers (where the family's
/// config.json has one number for all), too few experts, unequal groups; `errc::expert_set` where an
/// expert that it needs is not whole.
inline std::map<int, std::vector<int>> keep_sets(checkpoint const& model, pruning_plan const& plan) {
  if (!plan.model_digest.empty() && plan.model_digest != model.digest()) {
    detail::refuse_plan("was made for another model (digest " + plan.model_digest + ", this model has " + model.digest() + ")");
  }
  for (auto const& [layer, kept] : plan.layers) {
    if (!std::binary_search(model.moe_layers().begin(), model.moe_layers().end(), layer)) {
      detail::refuse_plan("layer " + std::to_string(layer) + " has no routed experts in this model");
    }
  }
  auto const mtp = model.mtp_layers();
  std::map<int, std::vector<int>> out;
  for (int const layer : model.moe_layers()) {
    bool const is_mtp = std::find(mtp.begin(), mtp.end(), layer) != mtp.end();
    if (is_mtp && plan.mtp.what == mtp_policy::kind::drop) continue;
    int const source = is_mtp && plan.mtp.what == mtp_policy::kind::copy ? plan.mtp.layer : layer;
    auto const found = plan.layers.find(source);
    if (found == plan.layers.end()) {
      detail::refuse_plan("layer " + std::to_string(source) + " is missing" +
                          (is_mtp ? "; choose an MTP policy that covers it" : ""));
    }
    detail::check_keep_set(model, source, found->second);
    out[layer] = found->second;
  }
  for (auto const& [layer, kept] : out) {
    if (kept.size() != out.begin()->second.size() && model.family().per_layer_key.empty()) {
      detail::refuse_plan("layer " + std::to_string(layer) + " keeps " + std::to_string(kept.size()) + " experts, layer " +
                          std::to_string(out.begin()->first) + " keeps " + std::to_string(out.begin()->second.size()) +
                          "; config.json has one number for all (engines that read one per layer are described by "
                          "'experts_per_layer' in a --family file)");
    }
  }
  detail::check_expert_sets(model.expert_notes(), out, model.dir().string());
  return out;
}

/// A plan from a selection made on this model. Throws `errc::bad_plan`.
inline pruning_plan plan(checkpoint const& model, selection const& chosen, plan_options const& options = {}) {
  pruning_plan out{.model_digest = model.digest(),
                   .data_digest = options.data_digest,
                   .criterion = options.criterion,
                   .mtp = options.mtp,
                   .layers = {},
                   .notes = {}};
  auto const mtp = model.mtp_layers();
  for (auto const& layer : chosen.layers) {
    bool const is_mtp = std::find(mtp.begin(), mtp.end(), layer.layer) != mtp.end();
    if (is_mtp && options.mtp.what != mtp_policy::kind::own) continue;
    out.layers[layer.layer] = layer.kept;
    out.notes[layer.layer] = {
        .margin = layer.margin, .tied = layer.tied, .never_chosen = layer.never_chosen, .rescued = layer.rescued};
  }
  keep_sets(model, out);
  return out;
}

CULL_NAMESPACE_END
