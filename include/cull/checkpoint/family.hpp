// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// A property of a model that its family states outright (`value`), or that config.json has under `key` (`value` then being what
/// a missing key means; without it the key must be there). `when`: keys and the texts they must have for the config's value to
/// count.
template <class T>
struct setting {
  std::string key;
  std::optional<T> value;
  std::map<std::string, std::string> when;
};

/// Experts that are stored as slices of a few tensors [experts, ...]. Stems of names after the layer's prefix: a tensor is called
/// like its stem, or goes on with "." or "_" ("gate_up_proj_blocks", "gate_proj.weight_scale_inv").
struct fused_experts {
  enum class arrangement { halves, interleaved };
  std::string gate_up;                          ///< gate and up in one tensor
  std::string gate, up;                         ///< or in two
  std::string down;
  arrangement rows = arrangement::halves;       ///< of gate and up in `gate_up`: gate first, or gate even and up odd
  bool transposed = false;                      ///< 16- and 32-bit weights are [experts, in, out]
};

/// Where the router's settings come from; see `router_settings`.
struct router_family {
  setting<std::string> scoring;      ///< softmax, sigmoid, softmax_of_chosen, sigmoid_of_chosen
  setting<std::string> group_score;  ///< sum_of_two, maximum
  setting<int> top_k, groups, top_groups, zero_experts;
  setting<bool> renormalize, bias_in_weight, gate_on_input;
  setting<double> epsilon, minimum, scaling;
};

/// A model family as data: how its tensors and config keys are called. Names are relative to a layer's prefix; "{}" stands for a
/// number. Read from the descriptors in families.hpp, or from a file of the user's.
struct family {
  std::string name;                          ///< its first model_type
  std::vector<std::string> model_types;      ///< in config.json
  std::vector<std::string> config_sections;  ///< objects of config.json that may hold its keys; "": the root
  std::vector<std::string> layers;           ///< prefixes of a layer's tensors
  std::vector<std::string> mtp_layers;       ///< prefixes of MTP layers that are numbered on their own
  std::vector<std::string> extra_files;      ///< weights outside the index that belong to the model

  std::string router;           ///< weight [experts, hidden]
  std::string router_bias;      ///< added to the logits
  std::string correction_bias;  ///< added for the choice only
  int correction_axis = 0;      ///< of the experts in the correction bias
  std::string experts;          ///< prefix of an expert's own tensors
  std::string gate, up, down;   ///< stems after it; no gate: ungated experts
  fused_experts fused;
  std::string latent_in, latent_out;  ///< stems of projections that all experts share

  std::vector<std::string> layers_keys;  ///< the first there is: number of layers without the MTP layers, which follow them, or a
                                         ///< list with one entry a layer
  std::string mtp_key;                  ///< number of MTP layers
  std::vector<std::string> count_keys;  ///< every key that may hold the number of experts, or a list of such
  std::string per_layer_key;  ///< key that may hold a list with one number of experts per layer; empty: one number for all layers
  std::map<std::string, std::vector<std::string>> allowed;  ///< keys, and the only texts this descriptor describes
  std::vector<std::string> expected;    ///< keys without which serving engines assume another router
  router_family routing;
  setting<std::string> activation;      ///< silu, gelu, gelu_tanh, relu2, clamped_swiglu, limited_silu; or transformers' names
  setting<double> activation_alpha, activation_limit;
};

CULL_NAMESPACE_END
