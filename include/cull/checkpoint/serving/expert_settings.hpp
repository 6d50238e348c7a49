// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include <cull/checkpoint/json_tree.hpp>
#include <cull/checkpoint/serving/exclude_pattern.hpp>
#include <cull/checkpoint/serving/quantization_facts.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

inline json const* member_at(json const* of, std::string const& key) {
  if (of == nullptr || !of->is_object()) return nullptr;
  auto const found = of->find(key);
  return found == of->end() || found->is_null() ? nullptr : &*found;
}

/// One entry of `config_groups`, and which modules it is for.
class config_group {
 public:
  explicit config_group(json const& settings) : settings_(&settings) {
    for (auto const& target : texts_in(member(settings, "targets"))) {
      auto const name = upper(target);
      if (target.starts_with("re:")) {
        patterns_.emplace_back(target, true);
      } else if (name == "LINEAR" ||
                 (target.find('.') == target.npos && (name.find("MOE") != name.npos || name.find("EXPERTS") != name.npos))) {
        by_class_ = true;
      } else {
        names_.insert(target);
      }
    }
  }

  json const& settings() const { return *settings_; }
  /// Whether it names the class of module that experts are.
  bool by_class() const { return by_class_; }
  bool by_name(std::string const& name) const {
    return names_.contains(name) ||
           std::any_of(patterns_.begin(), patterns_.end(), [&](auto const& pattern) { return pattern.hits(name); });
  }
  bool is_judged() const {
    return std::all_of(patterns_.begin(), patterns_.end(), [](auto const& pattern) { return pattern.is_judged(); });
  }

 private:
  json const* settings_;
  std::set<std::string> names_;
  std::vector<exclude_pattern> patterns_;
  bool by_class_ = false;
};

/// What the configs say of the matrices of experts, each named by its stem and by the module of all experts of its layer; valid
/// as long as the facts.
class expert_settings {
 public:
  explicit expert_settings(quantization_facts const& facts) : facts_(&facts) {
    auto const* const groups = member_at(&facts.config, "config_groups");
    if (groups == nullptr || !groups->is_structured()) return;
    for (auto const& group : *groups) groups_.emplace_back(group);
  }

  static bool is_mixed(json const& root) { return upper(text_of(member(root, "quant_algo"))) == "MIXED_PRECISION"; }
  bool has_groups() const { return !groups_.empty(); }
  bool are_groups_judged() const {
    return std::all_of(groups_.begin(), groups_.end(), [](auto const& group) { return group.is_judged(); });
  }

  /// The group of a matrix, or null: names go before classes.
  json const* group_of(std::string const& stem, std::string const& module) const {
    for (auto const& group : groups_) {
      if (group.by_name(stem) || group.by_name(module)) return &group.settings();
    }
    for (auto const& group : groups_) {
      if (group.by_class()) return &group.settings();
    }
    return nullptr;
  }

  /// What a config of mixed precision says of a matrix, or null: its own entry in `quantized_layers`, that of all experts,
  /// another expert's, or that of the projection's name beside the experts, as vLLM looks.
  static json const* layer_of(json const& root, std::string const& stem, std::string const& module) {
    auto const* const layers = member_at(&root, "quantized_layers");
    if (layers == nullptr || !layers->is_object()) return nullptr;
    for (auto const& name : {stem, module}) {
      if (auto const* const found = member_at(layers, name)) return found;
    }
    auto const& entries = layers->get_ref<json::object_t const&>();
    auto const inside = entries.lower_bound(module + ".");
    if (inside != entries.end() && inside->first.starts_with(module + ".")) return &inside->second;
    return member_at(layers, module.substr(0, module.rfind('.')) + stem.substr(std::min(stem.size(), stem.rfind('.'))));
  }
  /// `quant_algo` in capitals, of a matrix where they differ; empty: none.
  static std::string algorithm_in(json const& root, std::string const& stem, std::string const& module) {
    if (!is_mixed(root)) return upper(text_of(member(root, "quant_algo")));
    auto const* const entry = layer_of(root, stem, module);
    return entry == nullptr ? std::string{} : upper(text_of(member(*entry, "quant_algo")));
  }

  /// False where the configs name what is quantised and this is not among it.
  bool is_targeted(std::string const& stem, std::string const& module) const {
    if (facts_->is_compressed()) return groups_.empty() || group_of(stem, module) != nullptr;
    auto const& root = facts_->config.is_null() ? facts_->hf : facts_->config;
    return !is_mixed(root) || layer_of(root, stem, module) != nullptr;
  }

  /// Sizes of a matrix's groups, wherever they are given.
  std::set<std::int64_t> group_sizes(std::string const& stem, std::string const& module) const {
    std::set<std::int64_t> out;
    auto const add = [&](json const* from) {
      auto const* const size = member_at(from, "group_size");
      if (size != nullptr && size->is_number_integer()) out.insert(size->get<std::int64_t>());
    };
    for (auto const* const root : {&facts_->config, &facts_->hf}) {
      add(root);
      if (is_mixed(*root)) add(layer_of(*root, stem, module));
    }
    add(member_at(group_of(stem, module), "weights"));
    return out;
  }

  /// True where a matrix's activations are not quantised, so that no scale of theirs is wanted.
  bool is_weights_only(std::string const& stem, std::string const& module) const {
    auto const& root = facts_->hf.is_null() ? facts_->config : facts_->hf;
    auto const algorithm = algorithm_in(root, stem, module);
    if (!algorithm.empty()) return algorithm == "W4A16_NVFP4";
    auto const plain = [](json const& group) { return member(group, "input_activations").is_null(); };
    if (auto const* const group = group_of(stem, module)) return plain(*group);
    return !groups_.empty() &&
           std::all_of(groups_.begin(), groups_.end(), [&](auto const& group) { return plain(group.settings()); });
  }

 private:
  quantization_facts const* facts_;
  std::vector<config_group> groups_;
};

}  // namespace detail
CULL_NAMESPACE_END
