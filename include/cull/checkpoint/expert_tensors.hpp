// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/family.hpp>
#include <cull/checkpoint/names.hpp>
#include <cull/checkpoint/tensor_info.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// Endings of the names of a matrix's tensors: the first list those that hold the weights, the second what goes with them.
inline constexpr std::array<std::string_view, 5> weight_suffixes{".weight", "", ".weight_packed", "_blocks", "_packed"};
inline constexpr std::array<std::string_view, 13> companion_suffixes{
    ".weight_scale", ".weight_scale_2", ".weight_scale_inv", ".weight_global_scale", ".input_scale", ".input_global_scale",
    "_scales",       "_weight_scale",   "_weight_scale_2",   "_scale_inv",           "_scale",       "_global_scale",
    "_input_scale"};

template <class List>
bool is_one_of(List const& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

/// True for weights of routed experts and what goes with them, biases apart.
inline bool is_expert_matrix(family const& of, tensor_place const& place) {
  std::string_view const rest = place.rest;
  auto const fits = [&](std::string const& stem) {
    return !stem.empty() && rest.starts_with(stem) &&
           (is_one_of(weight_suffixes, rest.substr(stem.size())) || is_one_of(companion_suffixes, rest.substr(stem.size())));
  };
  switch (relation_of(of, place)) {
    case expert_relation::one_expert:
      return fits(of.gate) || fits(of.up) || fits(of.down);
    case expert_relation::all_experts:
      return fits(of.fused.gate_up) || fits(of.fused.gate) || fits(of.fused.up) || fits(of.fused.down);
    default:
      return false;
  }
}

/// The tensor with the weights of the matrix called `stem`, or null.
inline tensor_info const* stored_weights(checkpoint const& model, std::string const& stem) {
  for (auto const suffix : weight_suffixes) {
    if (auto const* const t = model.find(stem + std::string{suffix})) return t;
  }
  return nullptr;
}

/// "model.layers.1.mlp.experts": what quantisation configs call the experts of a layer.
inline std::string expert_module(checkpoint const& model, int layer) {
  auto const& of = model.family();
  auto const rest =
      of.experts.empty() ? of.fused.down.substr(0, of.fused.down.rfind('.')) : of.experts.substr(0, of.experts.find("{}"));
  auto out = model.name_in(layer, rest);
  if (out.ends_with('.')) out.pop_back();
  return out;
}

}  // namespace detail

CULL_NAMESPACE_END
