// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cctype>
#include <charconv>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <cull/checkpoint/config_view.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/router/settings.hpp>

CULL_NAMESPACE_BEGIN

/// What a tensor is for, told by a part of its name; the first row that fits counts.
struct role_pattern {
  std::string_view part;
  std::string_view role;
};

/// A model family as data: how its tensors and config keys are called. Tensor names are relative to a layer's prefix.
struct family {
  std::string_view model_type;                   ///< in config.json
  std::string_view layer_prefix;                 ///< "{}" stands for the layer's number
  std::string_view expert_prefix;                ///< after the layer's prefix; "{}" stands for the expert's number
  std::string_view gate, up, down;               ///< weights of an expert, after its prefix
  std::string_view router_weight;                ///< [experts, hidden]
  std::string_view correction_bias;              ///< [experts], for the choice only; may be absent
  std::string_view layers_key;                   ///< number of layers without the MTP layers, which follow them
  std::string_view mtp_key;                      ///< number of MTP layers
  std::span<std::string_view const> count_keys;  ///< every key that may hold the number of experts
  std::string_view top_k_key, groups_key, top_groups_key, renormalize_key, scaling_key, scoring_key;
  std::string_view topk_method_key, topk_method;  ///< the only method this descriptor describes
  group_scoring group_score;
  float epsilon;  ///< added to the sum of the chosen weights
  std::span<role_pattern const> roles;
};

namespace families {

inline constexpr std::string_view glm_moe_dsa_counts[] = {"n_routed_experts", "num_experts", "num_local_experts"};
inline constexpr role_pattern glm_moe_dsa_roles[] = {
    {".mlp.experts.", "routed experts"},
    {".mlp.shared_experts.", "shared experts"},
    {".mlp.gate.", "router"},
    {".indexer.", "indexer"},
    {".self_attn.", "attention"},
    {".mlp.", "dense layers"},
    {"embed_tokens", "embedding"},
    {"lm_head", "output head"},
    {"eh_proj", "MTP"},
    {"enorm", "MTP"},
    {"hnorm", "MTP"},
    {"shared_head", "MTP"},
    {"norm", "norms"},
};

/// GLM-5, 5.1, 5.2 (GlmMoeDsaForCausalLM), as transformers and vLLM name it.
inline constexpr family glm_moe_dsa{
    .model_type = "glm_moe_dsa",
    .layer_prefix = "model.layers.{}.",
    .expert_prefix = "mlp.experts.{}.",
    .gate = "gate_proj.weight",
    .up = "up_proj.weight",
    .down = "down_proj.weight",
    .router_weight = "mlp.gate.weight",
    .correction_bias = "mlp.gate.e_score_correction_bias",
    .layers_key = "num_hidden_layers",
    .mtp_key = "num_nextn_predict_layers",
    .count_keys = glm_moe_dsa_counts,
    .top_k_key = "num_experts_per_tok",
    .groups_key = "n_group",
    .top_groups_key = "topk_group",
    .renormalize_key = "norm_topk_prob",
    .scaling_key = "routed_scaling_factor",
    .scoring_key = "scoring_func",
    .topk_method_key = "topk_method",
    .topk_method = "noaux_tc",
    .group_score = group_scoring::sum_of_two,
    .epsilon = 1e-20f,
    .roles = glm_moe_dsa_roles,
};

inline constexpr family all[] = {glm_moe_dsa};

}  // namespace families

/// The family of that config, or throws `errc::unsupported_model` with the names of those there are.
inline family const& find_family(config_view const& config) {
  auto const type = config.text("model_type", "");
  std::string known;
  for (auto const& each : families::all) {
    if (each.model_type == type) return each;
    known += (known.empty() ? "" : ", ") + std::string{each.model_type};
  }
  throw error{errc::unsupported_model, "model_type '" + type + "' is not known; known are: " + known, {.file = config.file()}};
}

/// The router of a model as its config states it. Throws `errc::bad_config`, `errc::unsupported_model`.
inline router_settings read_router(family const& of, config_view const& config) {
  auto const method = config.text(of.topk_method_key, std::string{of.topk_method});
  auto const scores = config.text(of.scoring_key, "softmax");
  if (method != of.topk_method || (scores != "sigmoid" && scores != "softmax")) {
    throw error{errc::unsupported_model,
                std::string{of.topk_method_key} + " '" + method + "' with " + std::string{of.scoring_key} + " '" + scores +
                    "' is not a router this family is known to have",
                {.file = config.file()}};
  }
  return {.scoring = scores == "sigmoid" ? scoring::sigmoid : scoring::softmax,
          .top_k = static_cast<int>(config.integer(of.top_k_key)),
          .groups = static_cast<int>(config.integer(of.groups_key, 1)),
          .top_groups = static_cast<int>(config.integer(of.top_groups_key, 1)),
          .group_score = of.group_score,
          .renormalize = config.boolean(of.renormalize_key, true) ? renormalization::on : renormalization::off,
          .epsilon = of.epsilon,
          .scaling = static_cast<float>(config.number(of.scaling_key, 1.0))};
}

/// `pattern` with its "{}" replaced.
inline std::string numbered(std::string_view pattern, int number) {
  auto const at = pattern.find("{}");
  return std::string{pattern.substr(0, at)} + std::to_string(number) + std::string{pattern.substr(at + 2)};
}

/// Where a name stands in a model.
struct tensor_place {
  int layer = -1;    ///< -1: outside of the layers
  int expert = -1;   ///< -1: not of a routed expert
  std::string rest;  ///< what follows the prefixes
};

namespace detail {

/// Matches `pattern` at the start of `text`, which loses it; gives the number at "{}". Numbers have one spelling (no leading
/// zero).
inline std::optional<int> take_numbered(std::string_view& text, std::string_view pattern) {
  auto const at = pattern.find("{}");
  if (!text.starts_with(pattern.substr(0, at))) return std::nullopt;
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

}  // namespace detail

/// Takes a tensor's name apart.
inline tensor_place locate(family const& of, std::string_view name) {
  tensor_place place;
  if (auto const layer = detail::take_numbered(name, of.layer_prefix)) {
    place.layer = *layer;
    if (auto const expert = detail::take_numbered(name, of.expert_prefix)) place.expert = *expert;
  }
  place.rest = name;
  return place;
}

/// What a tensor is for.
inline std::string_view role_of(family const& of, std::string_view name) {
  for (auto const& row : of.roles) {
    if (name.find(row.part) != std::string_view::npos) return row.role;
  }
  return "other";
}

CULL_NAMESPACE_END
