// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <cull/checkpoint/digest.hpp>
#include <cull/checkpoint/json_tree.hpp>
#include <cull/checkpoint/json_writing.hpp>
#include <cull/checkpoint/output_file.hpp>
#include <cull/checkpoint/plan.hpp>
#include <cull/checkpoint/source_file.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// "own", "drop" or "copy:<layer>". Throws `errc::bad_plan`.
inline mtp_policy parse_mtp_policy(std::string_view text) {
  if (text == "own") return mtp_policy::own();
  if (text == "drop") return mtp_policy::drop();
  int layer = -1;
  if (text.starts_with("copy:")) {
    auto const digits = text.substr(5);
    auto const [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), layer);
    if (code == std::errc{} && end == digits.data() + digits.size() && layer >= 0) return mtp_policy::copy(layer);
  }
  throw error{errc::bad_plan, "MTP policy '" + std::string{text} + "' is none of own, drop, copy:<layer>"};
}

inline std::string to_text(mtp_policy const& policy) {
  if (policy.what == mtp_policy::kind::own) return "own";
  return policy.what == mtp_policy::kind::drop ? "drop" : "copy:" + std::to_string(policy.layer);
}

/// "keep" or "max". Throws `errc::bad_plan`.
inline input_scales parse_input_scales(std::string_view text) {
  if (text == "keep") return input_scales::keep;
  if (text == "max") return input_scales::max;
  throw error{errc::bad_plan, "input scales '" + std::string{text} + "' are none of keep, max"};
}

namespace detail {

inline constexpr char plan_format[] = "cull-plan";

/// Layer numbers ascending, one layer per line, so that plans can be read and
/// compared.
template <class Map, class Write>
std::string layer_lines(Map const& map, Write&& write) {
  std::string out = "{";
  char const* separator = "\n    \"";
  for (auto const& [layer, value] : map) {
    out += separator + std::to_string(layer) + "\": " + write(value);
    separator = ",\n    \"";
  }
  return out + (map.empty() ? "}" : "\n  }");
}

/// One line, members ascending by name; infinity is null.
inline std::string cut_text(cut_note const& note) {
  std::string out = "{";
  auto const add = [&](char const* key, std::string const& value) {
    out.append(out.size() > 1 ? ",\"" : "\"").append(key).append("\":").append(value);
  };
  auto const number = [](double value) { return std::isfinite(value) ? json(value).dump() : "null"; };
  auto const add_number = [&](char const* key, std::optional<double> const& value) {
    if (value) add(key, number(*value));
  };
  add("margin", number(note.margin));
  add_number("mass_dropped", note.mass_dropped);
  add("never_chosen", json_list(note.never_chosen));
  if (!note.rescued.empty()) add("rescued", json_list(note.rescued));
  add_number("sequences_to_settle", note.sequences_to_settle);
  if (note.sequences_to_settle) add("starving", json_list(note.starving));
  add("tied", json_list(note.tied));
  add_number("traffic_dropped", note.traffic_dropped);
  if (note.sequences_to_settle) add("unsettled", json_list(note.unsettled));
  return out + "}";
}

inline int layer_number(std::string const& key, std::string const& file) {
  int number = 0;
  auto const [end, code] = std::from_chars(key.data(), key.data() + key.size(), number);
  if (code != std::errc{} || end != key.data() + key.size() || number < 0 || std::to_string(number) != key) {
    throw error{errc::bad_plan, "'" + key + "' is not a layer number", {.file = file}};
  }
  return number;
}

inline std::vector<int> id_list(json const& value, std::string const& what, std::string const& file) {
  std::vector<int> out;
  auto const refuse = [&] { throw error{errc::bad_plan, what + " must be a list of expert ids", {.file = file}}; };
  if (!value.is_array()) refuse();
  for (auto const& id : value) {
    if (!id.is_number_unsigned() || id.get<std::uint64_t>() > 1'000'000) refuse();
    out.push_back(id.get<int>());
  }
  return out;
}

inline std::string text_member(json const& root, char const* key, std::string const& otherwise, std::string const& file) {
  if (!root.contains(key)) return otherwise;
  if (!root.at(key).is_string()) throw error{errc::bad_plan, std::string{"'"} + key + "' must be a string", {.file = file}};
  return root.at(key).get<std::string>();
}

/// A number, null meaning infinity; nothing where there is no such key.
inline std::optional<double> share(json const& from, char const* key) {
  if (!from.contains(key)) return std::nullopt;
  return from.at(key).is_number() ? from.at(key).get<double>() : std::numeric_limits<double>::infinity();
}

inline cut_note read_note(json const& value, std::string const& file) {
  cut_note note{.margin = std::numeric_limits<double>::infinity(), .tied = {}, .never_chosen = {}};
  if (!value.is_object()) throw error{errc::bad_plan, "'cuts' must hold objects", {.file = file}};
  if (value.contains("margin") && value.at("margin").is_number()) note.margin = value.at("margin").get<double>();
  if (value.contains("tied")) note.tied = id_list(value.at("tied"), "'tied'", file);
  if (value.contains("never_chosen")) note.never_chosen = id_list(value.at("never_chosen"), "'never_chosen'", file);
  if (value.contains("unsettled")) note.unsettled = id_list(value.at("unsettled"), "'unsettled'", file);
  if (value.contains("starving")) note.starving = id_list(value.at("starving"), "'starving'", file);
  if (value.contains("rescued")) note.rescued = id_list(value.at("rescued"), "'rescued'", file);
  note.sequences_to_settle = share(value, "sequences_to_settle");
  note.mass_dropped = share(value, "mass_dropped");
  note.traffic_dropped = share(value, "traffic_dropped");
  return note;
}

/// Options of `apply` that are not its defaults.
inline std::string plan_choices(pruning_plan const& plan) {
  std::string out;
  if (plan.input_scales != input_scales::keep) out += ",\n  \"input_scales\": \"max\"";
  if (plan.shard_bytes != 0) out += ",\n  \"shard_bytes\": " + std::to_string(plan.shard_bytes);
  return out;
}
inline std::uint64_t read_shard_bytes(json const& root, std::string const& file) {
  if (!root.contains("shard_bytes")) return 0;
  if (!root.at("shard_bytes").is_number_unsigned())
    throw error{errc::bad_plan, "'shard_bytes' must be a number of bytes", {.file = file}};
  return root.at("shard_bytes").get<std::uint64_t>();
}

}  // namespace detail

namespace detail {

/// All of a plan's JSON text but its checksum and the end.
inline std::string plan_text(pruning_plan const& plan) {
  std::string out = std::string{"{\n  \"format\": \""} + plan_format + "\",\n  \"version\": 1,\n";
  out += "  \"model_digest\": " + json_string(plan.model_digest) + ",\n";
  if (!plan.data_digest.empty()) out += "  \"data_digest\": " + json_string(plan.data_digest) + ",\n";
  out += "  \"criterion\": " + json_string(plan.criterion) + ",\n";
  out += "  \"mtp\": " + json_string(to_text(plan.mtp)) +
         ",\n  \"layers\": " + layer_lines(plan.layers, [](auto const& ids) { return json_list(ids); });
  out += ",\n  \"cuts\": " + layer_lines(plan.notes, cut_text);
  return out + plan_choices(plan);
}

inline std::string plan_checksum(pruning_plan const& plan) {
  auto const text = plan_text(plan);
  return hex_digest(std::as_bytes(std::span{text}));
}

}  // namespace detail

/// A plan as JSON text, with a checksum of its content as the last member; the same plan gives the same bytes.
inline std::string to_json(pruning_plan const& plan) {
  return detail::plan_text(plan) + ",\n  \"checksum\": \"" + detail::plan_checksum(plan) + "\"\n}\n";
}

/// Reads a plan; one made by hand or by another tool needs "layers" only. One with a checksum must have its
/// content, however it is spelled. Throws `errc::json_syntax` and its kin, `errc::bad_plan`, `errc::bad_checksum`.
inline pruning_plan parse_plan(std::string_view text, std::string const& file) {
  using detail::json;
  auto const root = detail::parse_tree(text, file);
  if (!root.is_object() || !root.contains("layers") || !root.at("layers").is_object()) {
    throw error{errc::bad_plan, "has no object 'layers' of kept expert ids per layer", {.file = file}};
  }
  if (detail::text_member(root, "format", detail::plan_format, file) != detail::plan_format ||
      (root.contains("version") && root.at("version") != 1)) {
    throw error{errc::bad_plan, "is not a plan of version 1", {.file = file}};
  }
  pruning_plan out{.model_digest = detail::text_member(root, "model_digest", "", file),
                   .data_digest = detail::text_member(root, "data_digest", "", file),
                   .criterion = detail::text_member(root, "criterion", "", file),
                   .mtp = parse_mtp_policy(detail::text_member(root, "mtp", "own", file)),
                   .layers = {},
                   .notes = {}};
  for (auto const& [key, ids] : root.at("layers").items()) {
    out.layers[detail::layer_number(key, file)] = detail::id_list(ids, "layer " + key, file);
  }
  out.input_scales = parse_input_scales(detail::text_member(root, "input_scales", "keep", file));
  out.shard_bytes = detail::read_shard_bytes(root, file);
  if (root.contains("cuts") && root.at("cuts").is_object()) {
    for (auto const& [key, note] : root.at("cuts").items())
      out.notes[detail::layer_number(key, file)] = detail::read_note(note, file);
  }
  if (auto const sum = detail::text_member(root, "checksum", "", file); !sum.empty() && sum != detail::plan_checksum(out))
    throw error{errc::bad_checksum, "is not what was saved; if it was edited on purpose, remove its 'checksum'", {.file = file}};
  return out;
}

inline pruning_plan load_plan(std::filesystem::path const& path) { return parse_plan(detail::read_text(path), path.string()); }

/// Whole or not at all. Throws `errc::already_exists`, `errc::io`.
inline void save(pruning_plan const& plan, std::filesystem::path const& path, overwrite policy = overwrite::no) {
  write_file(path, to_json(plan), policy);
}

CULL_NAMESPACE_END
