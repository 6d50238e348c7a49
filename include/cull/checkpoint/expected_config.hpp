// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/expected_tensors.hpp>
#include <cull/checkpoint/json.hpp>
#include <cull/checkpoint/plan.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// A name in a config after pruning. Patterns of a dropped layer stay in ignore lists; names of dropped experts go, and of
/// experts of layers that have none.
inline std::optional<std::string> spelled(expectation const& by, std::string const& text) {
  if (by.is_lost_expert(text)) return std::nullopt;
  auto const now = by.name(text);
  if (!now && text.find(".experts.") == std::string::npos) return text;
  return now;
}

/// Renames experts in every list and key.
inline json renamed_json(expectation const& by, json const& value) {
  if (value.is_object()) {
    auto out = json::object();
    for (auto const& [key, member] : value.items()) {
      if (auto const now = spelled(by, key)) out[*now] = renamed_json(by, member);
    }
    return out;
  }
  if (!value.is_array()) return value;
  auto out = json::array();
  for (auto const& member : value) {
    if (!member.is_string()) {
      out.push_back(renamed_json(by, member));
    } else if (auto const now = spelled(by, member.get<std::string>())) {
      out.push_back(*now);
    }
  }
  return out;
}

/// Sets the counts in one object of the config: numbers, and members of lists, that are the source's count.
inline void set_counts(checkpoint const& model, std::size_t experts, json& section) {
  for (auto const& key : model.family().count_keys) {
    if (!section.contains(key)) continue;
    auto& value = section[key];
    if (value.is_number()) value = experts;
    if (!value.is_array()) continue;
    for (auto& member : value) {
      if (member == model.experts()) member = experts;
    }
  }
}

/// Where layers keep different numbers, or had them: the family's list, in the first section that has it or any count.
inline void set_list(checkpoint const& model, std::map<int, std::vector<int>> const& kept, mtp_policy const& mtp,
                     json const& source, json& config) {
  std::set<std::size_t> numbers;
  for (auto const& [layer, ids] : kept) numbers.insert(ids.size());
  auto const before = model.expert_counts();
  // No number: none but a dropped MTP layer had experts.
  if (numbers.size() <= 1 && std::set<int>(before.begin(), before.end()).size() <= 1) return;
  auto const& key = model.family().per_layer_key;
  bool const drops = mtp.what == mtp_policy::kind::drop;
  for (bool const wants_key : {true, false}) {
    for (auto const& name : model.family().config_sections) {
      auto at = name.empty() ? std::string{} : "/" + name;
      std::replace(at.begin(), at.end(), '.', '/');
      json::json_pointer const place{at};
      if (!source.contains(place) || !source.at(place).is_object()) continue;
      auto const& section = source.at(place);
      auto const& counts = model.family().count_keys;
      bool const counts_here = std::any_of(counts.begin(), counts.end(), [&](auto const& k) { return section.contains(k); });
      if (wants_key ? !section.contains(key) : !counts_here) continue;
      auto const layers = static_cast<std::size_t>(model.hidden_layers()) + (drops ? 0 : model.mtp_layers().size());
      bool const as_long = !drops && section.contains(key) && section.at(key).is_array();
      std::vector<std::size_t> list(as_long ? section.at(key).size() : layers);
      for (auto const& [layer, ids] : kept) list.at(static_cast<std::size_t>(layer)) = ids.size();
      config.at(place)[key] = list;
      return;
    }
  }
}

/// What a config must say after pruning, as a document: another way than `rewrite_config`'s edits of the text.
inline json expected_json(checkpoint const& model, expectation const& by, std::map<int, std::vector<int>> const& kept,
                          mtp_policy const& mtp, json const& source) {
  auto out = renamed_json(by, source);
  for (auto const& name : model.family().config_sections) {
    json* section = &out;
    std::istringstream steps{name};
    for (std::string step; section != nullptr && std::getline(steps, step, '.');)
      section = section->is_object() && section->contains(step) ? &(*section)[step] : nullptr;
    if (section == nullptr || !section->is_object()) continue;
    std::size_t most = 0;
    for (auto const& [layer, ids] : kept) most = std::max(most, ids.size());
    set_counts(model, most, *section);
    auto const& key = model.family().mtp_key;
    if (mtp.what == mtp_policy::kind::drop && section->contains(key)) (*section)[key] = 0;
  }
  set_list(model, kept, mtp, source, out);
  return out;
}

}  // namespace detail
CULL_NAMESPACE_END
