// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <cull/checkpoint/family.hpp>
#include <cull/checkpoint/json.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// Reads one object of a descriptor; every key must be known and of the right type, so that a misspelt one is an error.
class descriptor_object {
 public:
  descriptor_object(json const& object, std::string path, std::string const& file)
      : object_(object), path_(std::move(path)), file_(file) {
    if (!object_.is_object()) refuse(path_, "an object");
  }

  template <class T>
  void read(std::string const& key, T& to) {
    known_.push_back(key);
    if (auto const found = object_.find(key); found != object_.end()) assign(*found, path_of(key), to);
  }
  template <class Function>
  void object(std::string const& key, Function&& f) {
    known_.push_back(key);
    auto const found = object_.find(key);
    if (found == object_.end()) return;
    descriptor_object inner{*found, path_of(key), file_};
    f(inner);
    inner.finish();
  }
  void finish() const {
    for (auto const& [key, value] : object_.items()) {
      if (std::find(known_.begin(), known_.end(), key) == known_.end())
        throw error{errc::bad_config,
                    "family descriptor: key '" + path_of(key) + "' is not known; known here are: " + joined(known_),
                    {.file = file_}};
    }
  }

  [[noreturn]] void refuse(std::string const& path, std::string const& wanted) const {
    throw error{errc::bad_config, "family descriptor: '" + path + "' must be " + wanted, {.file = file_}};
  }

 private:
  static std::string joined(std::vector<std::string> const& names) {
    std::string out;
    for (auto const& each : names) out += (out.empty() ? "" : ", ") + each;
    return out;
  }
  std::string path_of(std::string const& key) const { return path_.empty() ? key : path_ + "." + key; }
  void assign(json const& value, std::string const& path, std::string& to) const {
    if (!value.is_string()) refuse(path, "a string");
    to = value.get<std::string>();
  }
  void assign(json const& value, std::string const& path, int& to) const {
    if (!value.is_number_integer()) refuse(path, "an integer");
    to = value.get<int>();
  }
  void assign(json const& value, std::string const& path, double& to) const {
    if (!value.is_number()) refuse(path, "a number");
    to = value.get<double>();
  }
  void assign(json const& value, std::string const& path, bool& to) const {
    if (!value.is_boolean()) refuse(path, "true or false");
    to = value.get<bool>();
  }
  void assign(json const& value, std::string const& path, std::vector<std::string>& to) const {
    if (!value.is_array()) refuse(path, "a list of strings");
    to.clear();
    for (auto const& each : value) assign(each, path, to.emplace_back());
  }
  template <class T>
  void assign(json const& value, std::string const& path, std::map<std::string, T>& to) const {
    if (!value.is_object()) refuse(path, "an object");
    to.clear();
    for (auto const& [key, member] : value.items()) assign(member, path + "." + key, to[key]);
  }
  /// A literal, or {"key": "...", "default": literal, "when": {...}}.
  template <class T>
  void assign(json const& value, std::string const& path, setting<T>& to) const {
    to = {};
    if (!value.is_object()) return assign(value, path, to.value.emplace());
    descriptor_object inner{value, path, file_};
    inner.read("key", to.key);
    inner.read("when", to.when);
    inner.known_.push_back("default");
    if (value.contains("default")) assign(value.at("default"), path + ".default", to.value.emplace());
    inner.finish();
    if (to.key.empty()) refuse(path + ".key", "the name of a config key");
  }

  json const& object_;
  std::string path_;
  std::string const& file_;
  std::vector<std::string> known_;
};

inline void read_names(descriptor_object& in, family& out) {
  in.object("router", [&](descriptor_object& router) {
    router.read("weight", out.router);
    router.read("bias", out.router_bias);
    router.read("correction_bias", out.correction_bias);
    router.read("correction_axis", out.correction_axis);
  });
  in.object("experts", [&](descriptor_object& experts) {
    experts.read("prefix", out.experts);
    experts.read("gate", out.gate);
    experts.read("up", out.up);
    experts.read("down", out.down);
    experts.read("latent_in", out.latent_in);
    experts.read("latent_out", out.latent_out);
  });
  in.object("fused", [&](descriptor_object& fused) {
    std::string rows = out.fused.rows == fused_experts::arrangement::halves ? "halves" : "interleaved";
    fused.read("gate_up", out.fused.gate_up);
    fused.read("gate", out.fused.gate);
    fused.read("up", out.fused.up);
    fused.read("down", out.fused.down);
    fused.read("rows", rows);
    fused.read("transposed", out.fused.transposed);
    if (rows != "halves" && rows != "interleaved") fused.refuse("fused.rows", "'halves' or 'interleaved'");
    out.fused.rows = rows == "interleaved" ? fused_experts::arrangement::interleaved : fused_experts::arrangement::halves;
  });
}

inline void read_routing(descriptor_object& in, router_family& out) {
  in.read("scoring", out.scoring);
  in.read("top_k", out.top_k);
  in.read("groups", out.groups);
  in.read("top_groups", out.top_groups);
  in.read("group_score", out.group_score);
  in.read("renormalize", out.renormalize);
  in.read("epsilon", out.epsilon);
  in.read("minimum", out.minimum);
  in.read("scaling", out.scaling);
  in.read("bias_in_weight", out.bias_in_weight);
  in.read("gate_on_input", out.gate_on_input);
  in.read("zero_experts", out.zero_experts);
}

}  // namespace detail

/// A family from its descriptor; `file` is for errors. Throws `errc::bad_config` naming the key that is unknown, missing or of
/// the wrong type.
inline family read_family(detail::json const& descriptor, std::string const& file) {
  family out;
  detail::descriptor_object in{descriptor, "", file};
  std::string like;
  in.read("like", like);  // resolved before
  in.read("model_type", out.model_types);
  in.read("config_sections", out.config_sections);
  in.read("layers", out.layers);
  in.read("mtp_layers", out.mtp_layers);
  in.read("extra_files", out.extra_files);
  in.object("keys", [&](detail::descriptor_object& keys) {
    keys.read("layers", out.layers_keys);
    keys.read("mtp", out.mtp_key);
    keys.read("experts", out.count_keys);
    keys.read("experts_per_layer", out.per_layer_key);
    keys.read("allowed", out.allowed);
    keys.read("expected", out.expected);
  });
  detail::read_names(in, out);
  in.object("routing", [&](detail::descriptor_object& routing) { detail::read_routing(routing, out.routing); });
  in.read("activation", out.activation);
  in.read("activation_alpha", out.activation_alpha);
  in.read("activation_limit", out.activation_limit);
  in.finish();
  auto const need = [&](bool there, char const* key) {
    if (!there) throw error{errc::bad_config, "family descriptor: '" + std::string{key} + "' is missing", {.file = file}};
  };
  need(!out.model_types.empty(), "model_type");
  need(!out.layers.empty(), "layers");
  need(!out.router.empty(), "router.weight");
  need(!out.layers_keys.empty(), "keys.layers");
  need(!out.count_keys.empty(), "keys.experts");
  auto const numbered = [&](std::string const& pattern, char const* key) {
    auto const at = pattern.find("{}");
    bool const once = at != std::string::npos && pattern.find("{}", at + 2) == std::string::npos;
    if (!once || !pattern.ends_with('.'))
      in.refuse(key, "a prefix with one '{}' for the number, ending in a dot; it is '" + pattern + "'");
  };
  for (auto const& pattern : out.layers) numbered(pattern, "layers");
  for (auto const& pattern : out.mtp_layers) numbered(pattern, "mtp_layers");
  if (!out.experts.empty()) numbered(out.experts, "experts.prefix");
  need(!out.experts.empty() || !out.fused.down.empty(), "experts.prefix or fused.down");
  need(out.experts.empty() || (!out.up.empty() && !out.down.empty()), "experts.up and experts.down");
  need(out.correction_axis == 0 || out.correction_axis == 1, "router.correction_axis (0 or 1)");
  out.name = out.model_types.front();
  return out;
}

CULL_NAMESPACE_END
