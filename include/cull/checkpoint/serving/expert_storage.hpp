// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/serving/storage_scheme.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// One matrix of one expert, or of all where they share tensors.
struct expert_matrix {
  enum class kind { gate, up, down, gate_up };
  std::string stem;                                                         ///< what its tensors' names begin with
  std::vector<std::pair<std::string_view, tensor_info const*>> parts = {};  ///< by what their names end with
  storage_scheme scheme = {};

  tensor_info const* find(std::string_view suffix) const {
    auto const found = std::find_if(parts.begin(), parts.end(), [&](auto const& part) { return part.first == suffix; });
    return found == parts.end() ? nullptr : found->second;
  }
  tensor_info const* weight() const { return find(scheme.weight); }
};

/// Where an expert's matrix belongs; expert -1: all of the layer.
struct matrix_key {
  int layer, expert;
  expert_matrix::kind what;

  bool fused() const { return expert < 0; }
  friend bool operator<(matrix_key const& a, matrix_key const& b) {
    return std::tie(a.layer, a.expert, a.what) < std::tie(b.layer, b.expert, b.what);
  }
};

/// All matrices of a model's experts, from its headers; valid as long as the model.
class expert_storage_table {
 public:
  using kind = expert_matrix::kind;

  explicit expert_storage_table(checkpoint const& model) : model_(&model) {
    for (auto const& t : model.tensors()) add(t);
    for (auto& [key, matrix] : matrices_) {
      auto const& of = matrix;
      matrix.scheme = scheme_of(key.fused(), [&](std::string_view suffix) { return of.find(suffix); });
    }
  }

  std::map<matrix_key, expert_matrix> const& matrices() const { return matrices_; }
  expert_matrix const* find(matrix_key const& key) const {
    auto const found = matrices_.find(key);
    return found == matrices_.end() ? nullptr : &found->second;
  }
  /// Numbers of the experts that have tensors of their own in a layer.
  std::set<int> const& numbers(int layer) const {
    static std::set<int> const none;
    auto const found = numbers_.find(layer);
    return found == numbers_.end() ? none : found->second;
  }
  /// True where the experts of a layer share tensors.
  bool is_fused(int layer) const { return numbers(layer).empty() && fused_.contains(layer); }
  /// The matrices that an expert must have, or all of a layer's together, with the stems of their names.
  std::vector<std::pair<kind, std::string>> needed(int layer) const {
    auto const& of = model_->family();
    std::vector<std::pair<kind, std::string>> out;
    if (!is_fused(layer)) {
      out = {{kind::gate, of.gate}, {kind::up, of.up}, {kind::down, of.down}};
    } else if (find({layer, -1, kind::gate_up}) != nullptr || (of.fused.up.empty() && of.fused.gate.empty())) {
      out = {{kind::gate_up, of.fused.gate_up}, {kind::down, of.fused.down}};
    } else {
      out = {{kind::gate, of.fused.gate}, {kind::up, of.fused.up}, {kind::down, of.fused.down}};
    }
    std::erase_if(out, [](auto const& each) { return each.second.empty(); });
    return out;
  }

 private:
  void add(tensor_info const& t) {
    auto const place = model_->place_of(t.name);
    auto const& of = model_->family();
    if (place.expert >= 0) {
      numbers_[place.layer].insert(place.expert);
      add(t, place, {{kind::gate, &of.gate}, {kind::up, &of.up}, {kind::down, &of.down}});
    } else if (relation_of(of, place) == expert_relation::all_experts) {
      fused_.insert(place.layer);
      // "gate_up_proj" before what it begins with.
      add(t, place,
          {{kind::gate_up, &of.fused.gate_up},
           {kind::gate, &of.fused.gate},
           {kind::up, &of.fused.up},
           {kind::down, &of.fused.down}});
    }
  }
  void add(tensor_info const& t, tensor_place const& place, std::vector<std::pair<kind, std::string const*>> const& stems) {
    for (auto const& [what, stem] : stems) {
      if (!has_stem(place.rest, *stem)) continue;
      auto const suffix = place.rest.substr(stem->size());
      auto& matrix = matrices_[{place.layer, place.expert, what}];
      if (matrix.stem.empty()) matrix.stem = t.name.substr(0, t.name.size() - suffix.size());
      matrix.parts.emplace_back(suffix, &t);
      return;
    }
  }

  checkpoint const* model_;
  std::map<matrix_key, expert_matrix> matrices_;
  std::map<int, std::set<int>> numbers_;
  std::set<int> fused_;
};

}  // namespace detail
CULL_NAMESPACE_END
