// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
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

/// A name in a config after pruning. Patterns of a dropped layer stay in ignore lists; names of dropped experts go.
inline std::optional<std::string> spelled(expectation const& by, std::string const& text) {
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
    set_counts(model, kept.begin()->second.size(), *section);
    auto const& key = model.family().mtp_key;
    if (mtp.what == mtp_policy::kind::drop && section->contains(key)) (*section)[key] = 0;
  }
  return out;
}

}  // namespace detail
CULL_NAMESPACE_END
