// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/family.hpp>
#include <cull/checkpoint/json_text.hpp>
#include <cull/checkpoint/json_tree.hpp>
#include <cull/checkpoint/json_writing.hpp>
#include <cull/checkpoint/names.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// What a pruning means for names and counts.
struct renaming {
  cull::family const* family = nullptr;
  std::map<int, std::vector<int>> const* kept = nullptr;  ///< per layer of the output
  int before = 0;                                         ///< experts per layer of the source
  int experts = 0;                                        ///< per layer of the output
  int hidden_layers = 0;
  bool mtp_dropped = false;
  std::map<int, int> per_layer = {};  ///< experts of each layer of the output, where layers differ or did
  int layers = 0;                     ///< of the output, MTP layers among them
};

/// The list of `per_layer`, `size` entries long, 0 for layers without experts.
inline std::string per_layer_text(renaming const& by, std::size_t size) {
  std::vector<int> counts(size);
  for (auto const& [layer, count] : by.per_layer) {
    if (static_cast<std::size_t>(layer) < size) counts[static_cast<std::size_t>(layer)] = count;
  }
  return json_list(counts);
}

/// The new number of an expert, or nothing where it is dropped.
inline std::optional<int> new_number(renaming const& by, int layer, int expert) {
  auto const found = by.kept->find(layer);
  if (found == by.kept->end()) return std::nullopt;
  auto const at = std::lower_bound(found->second.begin(), found->second.end(), expert);
  if (at == found->second.end() || *at != expert) return std::nullopt;
  return static_cast<int>(at - found->second.begin());
}

/// A module name that may point at one expert, taken apart: "model.layers.3.mlp.experts.7" with or without what follows.
struct expert_mention {
  int layer = 0, expert = 0;
  std::string_view prefix, rest;
};

/// Throws `errc::bad_config` for a wildcard in the place of a number, which renumbering cannot keep true.
inline std::optional<expert_mention> find_expert_mention(renaming const& by, std::string_view text, std::string const& file) {
  auto rest = text;
  auto const experts = std::string_view{by.family->experts}.substr(0, by.family->experts.find("{}"));
  if (experts.empty()) return std::nullopt;
  auto const refuse = [&] {
    throw error{errc::bad_config,
                "'" + std::string{text} + "' names experts by a wildcard that renumbering would change; spell it out",
                {.file = file}};
  };
  auto const layer = take_layer(*by.family, by.hidden_layers, rest);
  if (!layer) {
    auto const at = text.find(experts);
    if (at != std::string_view::npos && at + experts.size() < text.size() &&
        std::isdigit(static_cast<unsigned char>(text[at + experts.size()])))
      refuse();
    return std::nullopt;
  }
  auto const prefix = text.substr(0, text.size() - rest.size());
  if (!rest.starts_with(experts)) return std::nullopt;
  rest.remove_prefix(experts.size());
  int expert = 0;
  auto const [end, code] = std::from_chars(rest.data(), rest.data() + rest.size(), expert);
  if (code != std::errc{}) return std::nullopt;
  rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
  if (!rest.empty() && rest[0] != '.') refuse();
  return expert_mention{*layer, expert, prefix, rest};
}

/// The same name after pruning; empty where its expert is gone.
inline std::string renamed(renaming const& by, expert_mention const& mention) {
  auto const number = new_number(by, mention.layer, mention.expert);
  if (!number) return {};
  auto middle = numbered(by.family->experts, *number);
  middle.pop_back();
  return std::string{mention.prefix} + middle + std::string{mention.rest};
}

/// Members of one list or object, in the order of the text.
using member_list = std::vector<json_span>;

/// A member under its new name: the element of a list, or the key of an object's member.
inline text_edit rename_edit(std::string_view text, json_span const& member, std::string const& name) {
  auto const quoted = json_string(name);
  if (member.member == member.begin) return {member.begin, member.end, quoted};
  auto key_end = member.member + 1;
  for (; text[key_end] != '"'; ++key_end) key_end += text[key_end] == '\\' ? 1u : 0u;
  return {member.member, key_end + 1, quoted};
}

/// Without member `i`, and without the separator before it, or behind it where no member before it stays.
inline text_edit removal_edit(member_list const& members, std::size_t i, bool some_before) {
  if (some_before) return {members[i - 1].end, members[i].end, {}};
  return {members[i].member, i + 1 < members.size() ? members[i + 1].member : members[i].end, {}};
}

/// The name by which a member may mention an expert: its key, or the text that it is.
inline std::string mentioned_by(std::string_view text, json_span const& member) {
  if (member.member != member.begin) return member.path.back();
  if (text[member.begin] != '"') return {};
  return json::parse(text.substr(member.begin, member.end - member.begin)).get<std::string>();
}

/// Adds the edits that renumber or remove the members that mention experts; the separators between others stay as they were.
inline void renumber_members(renaming const& by, std::string_view text, member_list const& members, std::string const& file,
                             std::vector<text_edit>& edits) {
  bool some_before = false;
  for (std::size_t i = 0; i < members.size(); ++i) {
    auto const name = mentioned_by(text, members[i]);
    auto const mention = find_expert_mention(by, name, file);
    auto const now = mention ? renamed(by, *mention) : name;
    if (mention && now.empty()) {
      edits.push_back(removal_edit(members, i, some_before));
      continue;
    }
    some_before = true;
    if (mention) edits.push_back(rename_edit(text, members[i], now));
  }
}

/// Groups the direct members of every list and object.
inline std::map<std::vector<std::string>, member_list> members_by_parent(std::vector<json_span> const& spans) {
  std::map<std::vector<std::string>, member_list> out;
  for (auto const& span : spans) {
    if (span.path.empty()) continue;
    out[{span.path.begin(), span.path.end() - 1}].push_back(span);
  }
  return out;
}

inline std::vector<text_edit> mention_edits(renaming const& by, std::string_view text, std::vector<json_span> const& spans,
                                            std::string const& file) {
  std::vector<text_edit> edits;
  for (auto const& [parent, members] : members_by_parent(spans)) {
    renumber_members(by, text, members, file, edits);
  }
  return edits;
}

/// "section.key" of a path, where it is one of the family's keys, or nothing. A path of lists ends in a place.
inline bool is_key(cull::family const& of, std::vector<std::string> const& path, std::size_t length, std::string_view key) {
  std::string joined;
  for (std::size_t i = 0; i < length; ++i) joined += (i > 0 ? "." : "") + path[i];
  return std::any_of(of.config_sections.begin(), of.config_sections.end(), [&](std::string const& section) {
    return joined == (section.empty() ? "" : section + ".") + std::string{key};
  });
}

/// `key` of the family, or a member of the list that it holds.
inline bool is_key_or_listed(cull::family const& of, json_span const& span, std::string_view key) {
  auto const size = span.path.size();
  bool const in_list = size > 1 && span.member == span.begin;
  return is_key(of, span.path, size, key) || (in_list && is_key(of, span.path, size - 1, key));
}

/// The number of experts of the source, or a member of a list of such.
inline bool is_count(renaming const& by, std::string_view text, json_span const& span) {
  if (text.substr(span.begin, span.end - span.begin) != std::to_string(by.before)) return false;
  auto const& keys = by.family->count_keys;
  return std::any_of(keys.begin(), keys.end(), [&](auto const& key) { return is_key_or_listed(*by.family, span, key); });
}

/// The key with one number of experts per layer, or a member of its list.
inline bool is_listed(renaming const& by, json_span const& span) {
  return is_key_or_listed(*by.family, span, by.family->per_layer_key);
}

/// The list of experts per layer in the place of the one that is there (as long as it was), of a number, or behind the first key
/// that holds the number of experts.
inline void add_list_edit(renaming const& by, std::string_view text, std::vector<json_span> const& spans, std::string const& file,
                          std::vector<text_edit>& edits) {
  auto const& key = by.family->per_layer_key;
  json_span const* behind = nullptr;
  for (auto const& span : spans) {
    if (is_key(*by.family, span.path, span.path.size(), key)) {
      auto const literal = text.substr(span.begin, span.end - span.begin);
      json_tree value;
      if (literal.starts_with('[')) value = parse_tree(literal, file);
      auto const size = value.is_array() && !by.mtp_dropped ? value.size() : static_cast<std::size_t>(by.layers);
      edits.push_back({span.begin, span.end, per_layer_text(by, size)});
      return;
    }
    if (behind == nullptr && is_count(by, text, span)) behind = &span;
  }
  if (behind == nullptr) return;
  auto const list = ", " + json_string(key) + ": " + per_layer_text(by, static_cast<std::size_t>(by.layers));
  edits.push_back({behind->end, behind->end, list});
}

/// config.json of the pruned model: every key that holds the number of experts, and names of experts in ignore lists; every other
/// byte is the source's. Dropping the MTP layers sets their number to 0.
inline std::string rewrite_config(renaming const& by, std::string_view text, std::string const& file) {
  auto const spans = json_locator{text}.locate();
  auto edits = mention_edits(by, text, spans, file);
  if (!by.per_layer.empty()) add_list_edit(by, text, spans, file, edits);
  for (auto const& span : spans) {
    bool const listed = !by.per_layer.empty() && is_listed(by, span);
    if (!listed && is_count(by, text, span)) edits.push_back({span.begin, span.end, std::to_string(by.experts)});
    if (by.mtp_dropped && is_key(*by.family, span.path, span.path.size(), by.family->mtp_key))
      edits.push_back({span.begin, span.end, "0"});
  }
  return edited(text, std::move(edits));
}

/// hf_quant_config.json of the pruned model.
inline std::string rewrite_quant_config(renaming const& by, std::string_view text, std::string const& file) {
  parse_tree(text, file);
  return edited(text, mention_edits(by, text, json_locator{text}.locate(), file));
}

}  // namespace detail
CULL_NAMESPACE_END
