// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <cull/checkpoint/config_view.hpp>
#include <cull/checkpoint/families.hpp>
#include <cull/checkpoint/family.hpp>
#include <cull/checkpoint/family_reader.hpp>
#include <cull/checkpoint/json_tree.hpp>
#include <cull/checkpoint/source_file.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

inline std::vector<json_tree> const& known_descriptors() {
  static auto const parsed = [] {
    std::vector<json_tree> out;
    for (auto const text : families::all) out.push_back(parse_tree(text, "built-in descriptor"));
    return out;
  }();
  return parsed;
}

inline bool describes(json const& descriptor, std::string_view model_type) {
  auto const types = descriptor.find("model_type");
  return types != descriptor.end() && types->is_array() && std::find(types->begin(), types->end(), model_type) != types->end();
}

inline json const* known_descriptor(std::string_view model_type) {
  for (auto const& each : known_descriptors()) {
    if (describes(each, model_type)) return &each;
  }
  return nullptr;
}

/// A descriptor on top of what it is like, down to `common`.
inline json_tree completed(json const& descriptor, std::string const& file) {
  json_tree out;
  if (auto const like = descriptor.find("like"); like != descriptor.end()) {
    auto const* const base = like->is_string() ? known_descriptor(like->get<std::string>()) : nullptr;
    if (base == nullptr)
      throw error{errc::bad_config, "family descriptor: 'like' names no known family: " + like->dump(), {.file = file}};
    out = completed(*base, file);
  } else {
    out = parse_tree(families::common, file);
  }
  out.merge(descriptor);
  return out;
}

/// The texts of model_type, the root's first, then those of nested sections.
inline std::vector<std::string> model_types(config_view const& config) {
  std::vector<std::string> out;
  for (auto const* const section : {"", "text_config.", "language_config.", "thinker_config.text_config."}) {
    auto const key = std::string{section} + "model_type";
    if (config.has(key)) out.push_back(config.text(key));
  }
  return out;
}

}  // namespace detail

/// A family from a descriptor file of the user's. Throws `errc::not_found`, `errc::json_syntax` and its kin, `errc::bad_config`.
inline family load_family(std::filesystem::path const& path) {
  auto const file = path.string();
  return read_family(detail::completed(detail::parse_tree(detail::read_text(path), file), file), file);
}

/// The known family of that model_type. Throws `errc::unsupported_model`.
inline family known_family(std::string const& model_type) {
  auto const* const found = detail::known_descriptor(model_type);
  if (found == nullptr) throw error{errc::unsupported_model, "no known family has model_type '" + model_type + "'"};
  return read_family(detail::completed(*found, "built-in descriptor"), "built-in descriptor");
}

/// The family of that config, or throws `errc::unsupported_model` with the names of those there are.
inline family find_family(config_view const& config) {
  auto const types = detail::model_types(config);
  for (auto const& type : types) {
    if (detail::known_descriptor(type) != nullptr) return known_family(type);
  }
  std::string known;
  for (auto const& each : detail::known_descriptors()) {
    for (auto const& type : each.at("model_type")) known += (known.empty() ? "" : ", ") + type.get<std::string>();
  }
  throw error{errc::unsupported_model,
              "model_type '" + (types.empty() ? "" : types.front()) + "' is not known; known are: " + known +
                  "; a model of another family needs a descriptor file: --family FILE, or open_options::family",
              {.file = config.file()}};
}

CULL_NAMESPACE_END
