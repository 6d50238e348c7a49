// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <cull/checkpoint/family.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// `pattern` with its "{}" replaced.
inline std::string numbered(std::string_view pattern, int number) {
  auto const at = pattern.find("{}");
  return std::string{pattern.substr(0, at)} + std::to_string(number) + std::string{pattern.substr(at + 2)};
}

/// Where a name stands in a model; views of that name.
struct tensor_place {
  int layer = -1;           ///< -1: outside of the layers
  int expert = -1;          ///< -1: not of one routed expert
  std::string_view prefix;  ///< of the layer, as the name spells it
  std::string_view rest;    ///< what follows the prefixes
};

namespace detail {

/// Matches `pattern` at the start of `text`, which loses it; gives the number at "{}". Numbers have one spelling (no leading
/// zero).
inline std::optional<int> take_numbered(std::string_view& text, std::string_view pattern) {
  auto const at = pattern.find("{}");
  if (at == std::string_view::npos || !text.starts_with(pattern.substr(0, at))) return std::nullopt;
  auto rest = text.substr(at);
  int number = 0;
  auto const [end, code] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  auto const digits = static_cast<std::size_t>(end - rest.data());
  if (code != std::errc{} || rest[0] == '-' || (rest[0] == '0' && digits > 1)) return std::nullopt;
  rest.remove_prefix(digits);
  if (!rest.starts_with(pattern.substr(at + 2))) return std::nullopt;
  text = rest.substr(pattern.size() - at - 2);
  return number;
}

/// Takes the prefix of a layer; MTP layers that are numbered on their own count on from `hidden_layers`.
inline std::optional<int> take_layer(family const& of, int hidden_layers, std::string_view& text) {
  for (auto const& pattern : of.layers) {
    if (auto const layer = take_numbered(text, pattern)) return layer;
  }
  for (auto const& pattern : of.mtp_layers) {
    if (auto const layer = take_numbered(text, pattern)) return hidden_layers + *layer;
  }
  return std::nullopt;
}

}  // namespace detail

/// Takes a tensor's name apart; what it gives is valid as long as the name. `hidden_layers`: layers before the MTP layers.
inline tensor_place locate(family const& of, int hidden_layers, std::string_view name) {
  tensor_place place;
  auto rest = name;
  if (auto const layer = detail::take_layer(of, hidden_layers, rest)) {
    place.layer = *layer;
    place.prefix = name.substr(0, name.size() - rest.size());
    if (auto const expert = detail::take_numbered(rest, of.experts)) place.expert = *expert;
  }
  place.rest = rest;
  return place;
}

/// True where `rest` is a tensor of the fused stem `stem`.
inline bool has_stem(std::string_view rest, std::string_view stem) {
  if (stem.empty() || !rest.starts_with(stem)) return false;
  return rest.size() == stem.size() || rest[stem.size()] == '.' || rest[stem.size()] == '_';
}

/// What a tensor of a MoE layer has to do with the experts.
enum class expert_relation { none, one_expert, all_experts, router };

inline expert_relation relation_of(family const& of, tensor_place const& place) {
  if (place.layer < 0 || place.rest.empty()) return expert_relation::none;
  if (place.expert >= 0) return expert_relation::one_expert;
  if (place.rest == of.router || place.rest == of.router_bias || place.rest == of.correction_bias) return expert_relation::router;
  for (auto const& stem : {of.fused.gate_up, of.fused.gate, of.fused.up, of.fused.down}) {
    if (has_stem(place.rest, stem)) return expert_relation::all_experts;
  }
  return expert_relation::none;
}

/// The axis of the experts in a tensor that is related to all of them, or nothing where it has none (scalars that all share).
inline std::optional<std::size_t> expert_axis(family const& of, tensor_place const& place,
                                              std::vector<std::uint64_t> const& shape) {
  auto const relation = relation_of(of, place);
  if (relation == expert_relation::router) {
    return place.rest == of.correction_bias ? static_cast<std::size_t>(of.correction_axis) : std::size_t{0};
  }
  if (relation != expert_relation::all_experts || shape.empty() || (shape.size() == 1 && shape[0] == 1)) return std::nullopt;
  return std::size_t{0};
}

CULL_NAMESPACE_END
