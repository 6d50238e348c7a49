// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// Tensors of one layer's experts: expert to the names behind its prefix.
using expert_parts = std::map<int, std::set<std::string>>;

inline std::map<int, expert_parts> parts_by_layer(checkpoint const& model) {
  std::map<int, expert_parts> out;
  for (auto const& t : model.tensors()) {
    auto const place = model.place_of(t.name);
    if (place.expert >= 0) out[place.layer][place.expert].emplace(place.rest);
  }
  return out;
}

inline bool is_fused_layer(checkpoint const& model, int layer) {
  auto const prefix = model.name_in(layer, "");
  auto const first = std::lower_bound(model.tensors().begin(), model.tensors().end(), prefix,
                                      [](auto const& t, auto const& n) { return t.name < n; });
  return std::any_of(first, model.tensors().end(), [&](auto const& t) {
    return t.name.starts_with(prefix) && relation_of(model.family(), model.place_of(t.name)) == expert_relation::all_experts;
  });
}

inline void audit_completeness(checkpoint const& model, std::map<int, expert_parts> const& layers,
                               std::vector<std::string>& out) {
  for (int const layer : model.moe_layers()) {
    auto const found = layers.find(layer);
    expert_parts const none;
    auto const& experts = found == layers.end() ? none : found->second;
    std::set<std::string> all;
    for (auto const& [expert, parts] : experts) all.insert(parts.begin(), parts.end());
    if (experts.empty() && is_fused_layer(model, layer)) continue;
    auto const& of = model.family();
    for (auto const* const stem : {&of.gate, &of.up, &of.down}) {
      auto const there = [&](std::string const& part) { return has_stem(part, *stem); };
      if (!stem->empty() && std::none_of(all.begin(), all.end(), there)) all.insert(*stem + ".weight");
    }
    for (int e = 0; e < model.experts(layer); ++e) {
      auto const has = experts.find(e);
      for (auto const& part : all) {
        if (has == experts.end() || !has->second.contains(part)) out.push_back(model.name_in(layer, e, part) + " is missing");
      }
    }
    for (auto const& [expert, parts] : experts) {
      if (expert >= model.experts(layer)) {
        out.push_back("layer " + std::to_string(layer) + " has tensors of expert " + std::to_string(expert) +
                      ", config.json says there are " + std::to_string(model.experts(layer)));
      }
    }
  }
}

/// Serving engines fuse gate and up under one tensor scale and take the gate's.
inline void audit_scales(checkpoint const& model, std::map<int, expert_parts> const& layers, std::vector<std::string>& out) {
  for (auto const& [layer, experts] : layers) {
    std::int64_t unequal = 0;
    for (auto const& [expert, parts] : experts) {
      std::vector<float> shared;
      for (auto const& part : parts) {
        if (!part.ends_with("_scale_2") && !part.ends_with("input_scale") && !part.ends_with("global_scale")) continue;
        auto const name = model.name_in(layer, expert, part);
        auto const values = model.values(name);
        if (values.size() != 1 || !std::isfinite(values[0]) || values[0] < 0)
          out.push_back(name + " is not a finite number of at least 0");
        bool const is_weights = part.ends_with("weight_scale_2") || part.ends_with("weight_global_scale");
        if (is_weights && (has_stem(part, model.family().gate) || has_stem(part, model.family().up)))
          shared.push_back(values.at(0));
      }
      unequal += shared.size() == 2 && shared[0] != shared[1] ? 1 : 0;
    }
    if (unequal > 0) {
      out.push_back("layer " + std::to_string(layer) + ": " + std::to_string(unequal) +
                    " experts have different tensor scales for gate and up; serving engines use the gate's for both");
    }
  }
}

}  // namespace detail

/// What a careful user wants to know before pruning, from headers and scalar tensors: experts that lack a tensor, numbers beyond
/// the count, scales that make no sense or that serving engines treat otherwise. Empty: nothing found.
inline std::vector<std::string> audit(checkpoint const& model) {
  auto out = model.warnings();
  auto const layers = detail::parts_by_layer(model);
  detail::audit_completeness(model, layers, out);
  detail::audit_scales(model, layers, out);
  return out;
}

CULL_NAMESPACE_END
