// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cctype>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/json_tree.hpp>
#include <cull/checkpoint/model_tree.hpp>
#include <cull/checkpoint/source_file.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

inline json member(json const& of, std::string const& key) {
  if (!of.is_object()) return {};
  auto const found = of.find(key);
  return found == of.end() ? json{} : *found;
}
inline std::string text_of(json const& value) { return value.is_string() ? value.get<std::string>() : std::string{}; }
inline std::string upper(std::string text) {
  for (auto& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return text;
}
inline std::set<std::string> texts_in(json const& list) {
  std::set<std::string> out;
  if (!list.is_array()) return out;
  for (auto const& each : list) {
    if (each.is_string()) out.insert(each.get<std::string>());
  }
  return out;
}

/// What a model's two configs say of its quantisation.
struct quantization_facts {
  json config;  ///< `quantization_config` of config.json, or null
  json hf;      ///< `quantization` of hf_quant_config.json, or null

  explicit quantization_facts(checkpoint const& model) {
    config = member(parse_json(model.config().text(), model.config().file()), "quantization_config");
    auto const path = model.dir() / "hf_quant_config.json";
    if (!std::filesystem::exists(path)) return;
    hf = member(parse_json(read_text(model_tree{model.dir(), model.allowed()}.checked(path)), path.string()), "quantization");
  }

  bool is_compressed() const { return text_of(member(config, "quant_method")) == "compressed-tensors"; }

  /// Entries that say what is not quantised.
  std::set<std::string> ignored() const { return texts_in(member(config, "ignore")); }
  std::set<std::string> excluded() const { return texts_in(member(hf, "exclude_modules")); }
  std::set<std::string> all_excludes() const {
    auto out = ignored();
    out.merge(excluded());
    return out;
  }
  /// Names of modules in lists of what is quantised.
  std::set<std::string> targets() const {
    std::set<std::string> out;
    for (auto const* const root : {&config, &hf}) {
      for (auto const& group : member(*root, "config_groups")) out.merge(texts_in(member(group, "targets")));
      auto const layers = member(*root, "quantized_layers");
      if (!layers.is_object()) continue;
      for (auto const& layer : layers.items()) out.insert(layer.key());
    }
    return out;
  }
};

}  // namespace detail
CULL_NAMESPACE_END
