// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <cull/checkpoint/conversion.hpp>
#include <cull/checkpoint/json_tree.hpp>
#include <cull/checkpoint/json_text.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// What a quantisation config has to say about a converted model.
struct quantized_parts {
  expert_storage experts = expert_storage::bf16;
  bool input_scales = false;                     ///< every expert has one
  std::vector<std::string> plain_modules = {};   ///< matrices that are not quantised, by name
  std::vector<std::string> expert_modules = {};  ///< "model.layers.1.mlp.experts", of every MoE layer
  bool others_quantized = false;                 ///< modules that are not converted, and stored in a quantised format
};

inline json nvfp4_tensor_config(expert_storage of, bool activations) {
  json out{{"num_bits", 4}, {"type", "float"}, {"group_size", 16}, {"dynamic", false}};
  if (of != expert_storage::compressed_tensors_nvfp4) return out;
  out["strategy"] = "tensor_group";
  out["symmetric"] = true;
  if (activations) {
    out["dynamic"] = "local";
  } else {
    out["scale_dtype"] = "torch.float8_e4m3fn";
  }
  return out;
}

/// `quantization_config` of a model whose experts, and nothing else, are NVFP4. Keys as the two libraries write them.
inline json nvfp4_config(quantized_parts const& parts) {
  json group{{"targets", {"Linear"}}, {"weights", nvfp4_tensor_config(parts.experts, false)}};
  if (parts.input_scales) group["input_activations"] = nvfp4_tensor_config(parts.experts, true);
  json out{{"config_groups", {{"group_0", group}}}, {"ignore", parts.plain_modules}};
  if (parts.experts == expert_storage::compressed_tensors_nvfp4) {
    out["quant_method"] = "compressed-tensors";
    out["format"] = "nvfp4-pack-quantized";
    out["quantization_status"] = "compressed";
  } else {
    out["quant_method"] = "modelopt";
    out["quant_algo"] = parts.input_scales ? "NVFP4" : "W4A16_NVFP4";
    out["producer"] = {{"name", "cull"}, {"version", version_string}};
  }
  return out;
}

/// hf_quant_config.json of the same model, as modelopt writes it beside config.json.
inline std::string hf_quant_config(quantized_parts const& parts) {
  json const out{{"producer", {{"name", "cull"}, {"version", version_string}}},
                 {"quantization",
                  {{"quant_algo", parts.input_scales ? "NVFP4" : "W4A16_NVFP4"},
                   {"kv_cache_quant_algo", nullptr},
                   {"group_size", 16},
                   {"exclude_modules", parts.plain_modules}}}};
  return out.dump(4) + "\n";
}

/// The source's config with the experts added to those modules that its method leaves alone.
inline json with_plain_experts(json config, quantized_parts const& parts, std::string const& file) {
  auto const method = config.value("quant_method", std::string{});
  bool const regex = method == "compressed-tensors";
  char const* const key = regex || method == "modelopt" ? "ignore" : "modules_to_not_convert";
  if (!config.is_object() || (config.contains(key) && !config.at(key).is_array() && !config.at(key).is_null())) {
    throw error{errc::bad_config, "quantization_config cannot be extended by modules that are not quantised", {.file = file}};
  }
  if (!config.contains(key) || config.at(key).is_null()) config[key] = json::array();
  for (auto const& module : parts.expert_modules) {
    std::string escaped;
    for (char const c : module) escaped += c == '.' && regex ? std::string{"\\."} : std::string{c};
    config[key].push_back(regex ? "re:" + escaped + ".*" : method == "modelopt" ? module + "*" : module);
  }
  return config;
}

/// A JSON object's text with one member of the root set, or taken out; every other byte stays.
inline std::string with_member(std::string_view text, std::string const& key, std::optional<json> const& value) {
  auto const spans = json_locator{text}.locate();
  std::vector<json_span> members;
  for (auto const& span : spans) {
    if (span.path.size() == 1) members.push_back(span);
  }
  auto const found = std::find_if(members.begin(), members.end(), [&](auto const& m) { return m.path[0] == key; });
  auto const indented = [&] {
    auto out = value->dump(2);
    for (auto at = out.find('\n'); at != std::string::npos; at = out.find('\n', at + 1)) out.insert(at + 1, "  ");
    return out;
  };
  if (found == members.end()) {
    if (!value) return std::string{text};
    auto const member = json(key).dump() + ": " + indented();
    if (members.empty()) return "{\n  " + member + "\n}\n";
    return edited(text, {{members.back().end, members.back().end, ",\n  " + member}});
  }
  if (value) return edited(text, {{found->begin, found->end, indented()}});
  if (members.size() == 1) return edited(text, {{found->member, found->end, ""}});
  bool const last = found + 1 == members.end();
  return last ? edited(text, {{(found - 1)->end, found->end, ""}}) : edited(text, {{found->member, (found + 1)->member, ""}});
}

/// config.json of the converted model.
inline std::string converted_config(quantized_parts const& parts, std::string_view text, std::string const& file) {
  static std::string const key = "quantization_config";
  if (is_nvfp4(parts.experts)) return with_member(text, key, nvfp4_config(parts));
  auto const root = parse_json(std::string{text}, file);
  if (!parts.others_quantized || !root.contains(key)) return with_member(text, key, std::nullopt);
  return with_member(text, key, with_plain_experts(root.at(key), parts, file));
}

}  // namespace detail

CULL_NAMESPACE_END
