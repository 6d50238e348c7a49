// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <cull/checkpoint/config_view.hpp>
#include <cull/checkpoint/family.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/expert/activation.hpp>
#include <cull/router/settings.hpp>

CULL_NAMESPACE_BEGIN

/// A family's keys, looked up in the sections where its models keep them.
class family_config {
 public:
  family_config(family const& of, config_view const& config) : of_(of), config_(config) {}

  /// "section.key" of the first section that has the key, or nothing.
  std::optional<std::string> find(std::string_view key) const {
    for (auto const& section : of_.config_sections) {
      auto path = (section.empty() ? "" : section + ".") + std::string{key};
      if (!key.empty() && config_.has(path)) return path;
    }
    return std::nullopt;
  }
  /// Every place of the key.
  std::vector<std::string> find_all(std::string_view key) const {
    std::vector<std::string> out;
    for (auto const& section : of_.config_sections) {
      auto path = (section.empty() ? "" : section + ".") + std::string{key};
      if (config_.has(path)) out.push_back(std::move(path));
    }
    return out;
  }

  bool get(setting<bool> const& from) const {
    auto const path = place(from);
    return path ? config_.boolean(*path) : *from.value;
  }
  double get(setting<double> const& from) const {
    auto const path = place(from);
    return path ? config_.number(*path) : *from.value;
  }
  std::string get(setting<std::string> const& from) const {
    auto const path = place(from);
    return path ? config_.text(*path) : *from.value;
  }
  /// A count. A list is one where all its members are equal.
  int get(setting<int> const& from) const {
    auto const path = place(from);
    return path ? count(one_integer(*path), *path) : count(*from.value, from.key);
  }
  std::int64_t one_integer(std::string const& path) const {
    auto const values = config_.integers(path);
    if (values.empty() || std::any_of(values.begin(), values.end(), [&](auto v) { return v != values[0]; })) {
      throw error{errc::bad_config, "key '" + path + "' must be one number, or a list of equal ones", {.file = config_.file()}};
    }
    return values[0];
  }
  int number_of_layers() const {
    for (auto const& key : of_.layers_keys) {
      if (auto const path = find(key)) return count(config_.integer_or_length(*path), *path);
    }
    throw error{errc::bad_config, "key '" + of_.layers_keys.at(0) + "' is missing", {.file = config_.file()}};
  }
  std::int64_t integer(std::string_view key, std::int64_t otherwise) const {
    auto const path = find(key);
    return path ? config_.integer(*path) : otherwise;
  }

  config_view const& config() const { return config_; }

 private:
  int count(std::int64_t value, std::string const& path) const {
    if (value >= 0 && value <= 65536) return static_cast<int>(value);
    throw error{errc::bad_config,
                "key '" + path + "' must be a count of at most 65536, not " + std::to_string(value),
                {.file = config_.file()}};
  }
  template <class T>
  std::optional<std::string> place(setting<T> const& from) const {
    auto path = find(from.key);
    for (auto const& [key, text] : from.when) {
      auto const at = find(key);
      if (!at || config_.text(*at) != text) path.reset();
    }
    if (!path && !from.value) throw error{errc::bad_config, "key '" + from.key + "' is missing", {.file = config_.file()}};
    return path;
  }

  family const& of_;
  config_view const& config_;
};

namespace detail {

template <class T>
T named(std::map<std::string, T> const& table, std::string const& text, char const* what, config_view const& config) {
  auto const found = table.find(text);
  if (found != table.end()) return found->second;
  std::string known;
  for (auto const& [name, value] : table) known += (known.empty() ? "" : ", ") + name;
  throw error{errc::unsupported_model,
              std::string{what} + " '" + text + "' is not known; known are: " + known,
              {.file = config.file()}};
}

/// Values that would mean another model than the descriptor's.
inline void check_allowed(family const& of, family_config const& config) {
  for (auto const& [key, texts] : of.allowed) {
    auto const path = config.find(key);
    if (!path) continue;
    auto const text = config.config().text(*path);
    if (std::find(texts.begin(), texts.end(), text) == texts.end()) {
      throw error{errc::unsupported_model,
                  "'" + *path + "' is '" + text + "', which is not a router that the family " + of.name + " is known to have",
                  {.file = config.config().file()}};
    }
  }
}

}  // namespace detail

/// The router of a model as its config states it. Throws `errc::bad_config`, `errc::unsupported_model`.
inline router_settings read_router(family const& of, config_view const& view) {
  family_config const config{of, view};
  detail::check_allowed(of, config);
  auto const& from = of.routing;
  return {.scoring = detail::named<scoring>({{"softmax", scoring::softmax},
                                             {"sigmoid", scoring::sigmoid},
                                             {"softmax_of_chosen", scoring::softmax_of_chosen},
                                             {"sigmoid_of_chosen", scoring::sigmoid_of_chosen}},
                                            config.get(from.scoring), "router scoring", view),
          .top_k = config.get(from.top_k),
          .groups = config.get(from.groups),
          .top_groups = config.get(from.top_groups),
          .group_score = detail::named<group_scoring>({{"sum_of_two", group_scoring::sum_of_two}, {"maximum", group_scoring::maximum}},
                                                      config.get(from.group_score), "group score", view),
          .renormalize = config.get(from.renormalize) ? renormalization::on : renormalization::off,
          .epsilon = static_cast<float>(config.get(from.epsilon)),
          .scaling = static_cast<float>(config.get(from.scaling)),
          .minimum = static_cast<float>(config.get(from.minimum)),
          .bias_in_weight = config.get(from.bias_in_weight),
          .gate_on_input = config.get(from.gate_on_input),
          .zero_experts = config.get(from.zero_experts)};
}

/// The activation of one layer's experts. A limit may be a list with one entry a layer (0 or null: none).
inline activation_settings read_activation(family const& of, config_view const& view, int layer) {
  family_config const config{of, view};
  using kind = activation_settings::kind;
  auto what = detail::named<kind>({{"silu", kind::silu},
                                   {"swish", kind::silu},
                                   {"gelu", kind::gelu},
                                   {"gelu_pytorch_tanh", kind::gelu_tanh},
                                   {"gelu_tanh", kind::gelu_tanh},
                                   {"relu2", kind::relu2},
                                   {"clamped_swiglu", kind::clamped_swiglu},
                                   {"limited_silu", kind::limited_silu}},
                                  config.get(of.activation), "activation", view);
  double limit = of.activation_limit.value.value_or(0);
  if (auto const path = config.find(of.activation_limit.key)) limit = view.number_of(*path, layer, 0);
  if (what == kind::limited_silu && limit == 0) what = kind::silu;
  return {.what = what, .alpha = static_cast<float>(config.get(of.activation_alpha)), .limit = static_cast<float>(limit)};
}

CULL_NAMESPACE_END
