// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace families {

/// The families cull knows: one entry each, in the syntax of a user's own descriptor file (see family.hpp for the meaning of
/// every key). Each entry says how it differs from the one it is "like"; what none says is in "common". A value of "routing" is
/// written out, or read from config.json: {"key": ..., "default": what a missing key means, "when": {key: text it must have}}.
/// Sources: modeling files of transformers 5 and vLLM, and models saved by them.
inline constexpr std::string_view common = R"json({
  "config_sections": ["", "text_config"],
  "layers": ["model.layers.{}.", "model.language_model.layers.{}.", "language_model.model.layers.{}."],
  "keys": {"layers": ["num_hidden_layers"], "mtp": "num_nextn_predict_layers",
           "experts": ["n_routed_experts", "num_experts", "num_local_experts"]},
  "router": {"weight": "mlp.gate.weight"},
  "experts": {"prefix": "mlp.experts.{}.", "gate": "gate_proj", "up": "up_proj", "down": "down_proj"},
  "fused": {"gate_up": "mlp.experts.gate_up_proj", "down": "mlp.experts.down_proj"},
  "routing": {"scoring": "softmax", "top_k": {"key": "num_experts_per_tok"}, "groups": 1, "top_groups": 1,
              "group_score": "sum_of_two", "renormalize": true, "epsilon": 0, "minimum": 0, "scaling": 1,
              "bias_in_weight": false, "gate_on_input": false, "zero_experts": 0},
  "activation": {"key": "hidden_act", "default": "silu"}, "activation_alpha": 1.702, "activation_limit": 7
})json";

inline constexpr std::string_view all[] = {
    // DeepSeek-V3, R1
    R"json({"model_type": ["deepseek_v3"],
      "keys": {"allowed": {"topk_method": ["noaux_tc"]}, "expected": ["scoring_func"]},
      "router": {"correction_bias": "mlp.gate.e_score_correction_bias"},
      "routing": {"scoring": {"key": "scoring_func", "default": "sigmoid"}, "groups": {"key": "n_group", "default": 1},
                  "top_groups": {"key": "topk_group", "default": 1},
                  "renormalize": {"key": "norm_topk_prob", "default": true}, "epsilon": 1e-20,
                  "scaling": {"key": "routed_scaling_factor", "default": 2.5}}})json",
    R"json({"like": "deepseek_v3", "model_type": ["deepseek_v32"]})json",
    // GLM-5, 5.1, 5.2
    R"json({"like": "deepseek_v3", "model_type": ["glm_moe_dsa"]})json",
    // GLM-4.5 to 4.7; 4.7 ships its MTP layer in a file of its own
    R"json({"like": "deepseek_v3", "model_type": ["glm4_moe", "glm4v_moe", "glm4v_moe_text"], "keys": {"expected": []},
      "extra_files": ["mtp.safetensors"],
      "routing": {"scaling": {"key": "routed_scaling_factor", "default": 1}}})json",
    R"json({"like": "deepseek_v3", "model_type": ["kimi_k2", "kimi_k25"]})json",
    R"json({"like": "deepseek_v3", "model_type": ["dots1"], "keys": {"expected": []},
      "routing": {"renormalize": {"key": "norm_topk_prob", "default": false},
                  "scaling": {"key": "routed_scaling_factor", "default": 1}}})json",
    R"json({"like": "deepseek_v3", "model_type": ["mimo_v2_flash"], "keys": {"expected": []},
      "routing": {"scaling": {"key": "routed_scaling_factor", "default": 1}}})json",
    // DeepSeek-V2: group-limited only where topk_method says so
    R"json({"model_type": ["deepseek_v2"],
      "keys": {"allowed": {"topk_method": ["greedy", "group_limited_greedy"], "scoring_func": ["softmax"]}},
      "routing": {"groups": {"key": "n_group", "default": 1, "when": {"topk_method": "group_limited_greedy"}},
                  "top_groups": {"key": "topk_group", "default": 1, "when": {"topk_method": "group_limited_greedy"}},
                  "group_score": "maximum", "renormalize": false,
                  "scaling": {"key": "routed_scaling_factor", "default": 1}}})json",
    R"json({"model_type": ["qwen3_moe", "qwen2_moe"], "routing": {"renormalize": {"key": "norm_topk_prob", "default": false}}})json",
    R"json({"model_type": ["olmoe"], "routing": {"renormalize": {"key": "norm_topk_prob", "default": false}}})json",
    R"json({"model_type": ["qwen3_next"], "mtp_layers": ["mtp.layers.{}."],
      "routing": {"renormalize": {"key": "norm_topk_prob", "default": true}}})json",
    R"json({"model_type": ["qwen3_5_moe", "qwen3_5_moe_text"], "mtp_layers": ["mtp.layers.{}."],
      "keys": {"mtp": "mtp_num_hidden_layers"}})json",
    // Fused experts lie transposed here
    R"json({"model_type": ["qwen3_vl_moe", "qwen3_vl_moe_text"], "fused": {"transposed": true}})json",
    R"json({"model_type": ["mixtral"],
      "router": {"weight": "block_sparse_moe.gate.weight"},
      "experts": {"prefix": "block_sparse_moe.experts.{}.", "gate": "w1", "up": "w3", "down": "w2"},
      "fused": {"gate_up": "block_sparse_moe.experts.gate_up_proj", "down": "block_sparse_moe.experts.down_proj"}})json",
    // MiniMax-M2: the correction bias is the block's, not the gate's
    R"json({"like": "mixtral", "model_type": ["minimax_m2"], "keys": {"mtp": "num_mtp_modules"},
      "router": {"correction_bias": "block_sparse_moe.e_score_correction_bias"}, "routing": {"scoring": "sigmoid"}})json",
    R"json({"model_type": ["gpt_oss"],
      "router": {"weight": "mlp.router.weight", "bias": "mlp.router.bias"},
      "fused": {"rows": "interleaved", "transposed": true},
      "routing": {"scoring": "softmax_of_chosen", "renormalize": false}, "activation": "clamped_swiglu",
      "activation_alpha": {"key": "swiglu_alpha", "default": 1.702}, "activation_limit": {"key": "swiglu_limit", "default": 7}})json",
    // Llama 4 multiplies the expert's input by the gate
    R"json({"model_type": ["llama4", "llama4_text"],
      "layers": ["language_model.model.layers.{}.", "model.layers.{}.", "model.language_model.layers.{}."],
      "router": {"weight": "feed_forward.router.weight"}, "experts": {"prefix": "feed_forward.experts.{}."},
      "fused": {"gate_up": "feed_forward.experts.gate_up_proj", "down": "feed_forward.experts.down_proj", "transposed": true},
      "routing": {"scoring": "sigmoid_of_chosen", "renormalize": false, "gate_on_input": true}})json",
    R"json({"model_type": ["ernie4_5_moe"],
      "keys": {"experts": ["moe_num_experts", "num_experts", "moe_capacity"]},
      "router": {"correction_bias": "mlp.moe_statics.e_score_correction_bias", "correction_axis": 1},
      "routing": {"top_k": {"key": "moe_k"}, "minimum": {"key": "moe_norm_min", "default": 1e-12}}})json",
    // HunYuan: counts may be lists, one entry a layer
    R"json({"model_type": ["hunyuan_v1_moe"], "keys": {"experts_per_layer": "num_experts"}, "router": {"weight": "mlp.gate.wg.weight"},
      "routing": {"top_k": {"key": "moe_topk"}}})json",
    R"json({"model_type": ["nemotron_h"], "layers": ["backbone.layers.{}.", "model.layers.{}."], "mtp_layers": ["mtp.layers.{}."],
      "keys": {"layers": ["num_hidden_layers", "layers_block_type"]},
      "router": {"weight": "mixer.gate.weight", "correction_bias": "mixer.gate.e_score_correction_bias"},
      "experts": {"prefix": "mixer.experts.{}.", "gate": "", "latent_in": "mixer.fc1_latent_proj",
                  "latent_out": "mixer.fc2_latent_proj"},
      "fused": {"gate_up": "", "up": "mixer.experts.up_proj", "down": "mixer.experts.down_proj"},
      "routing": {"scoring": "sigmoid", "groups": {"key": "n_group", "default": 1},
                  "top_groups": {"key": "topk_group", "default": 1},
                  "renormalize": {"key": "norm_topk_prob", "default": true}, "epsilon": 1e-20,
                  "scaling": {"key": "routed_scaling_factor", "default": 1}},
      "activation": {"key": "mlp_hidden_act", "default": "relu2"}})json",
    R"json({"model_type": ["lfm2_moe"],
      "router": {"weight": "feed_forward.gate.weight", "correction_bias": "feed_forward.expert_bias"},
      "experts": {"prefix": "feed_forward.experts.{}.", "gate": "w1", "up": "w3", "down": "w2"},
      "fused": {"gate_up": "feed_forward.experts.gate_up_proj", "down": "feed_forward.experts.down_proj"},
      "routing": {"scoring": "sigmoid", "renormalize": {"key": "norm_topk_prob", "default": true}, "epsilon": 1e-6,
                  "scaling": {"key": "routed_scaling_factor", "default": 1}}})json",
    // LongCat-Flash: the last router rows are zero-compute experts, which stay
    R"json({"model_type": ["longcat_flash"], "keys": {"layers": ["num_layers"]},
      "router": {"weight": "mlp.router.classifier.weight", "bias": "mlp.router.classifier.bias",
                 "correction_bias": "mlp.router.e_score_correction_bias"},
      "routing": {"top_k": {"key": "moe_topk"}, "renormalize": false, "zero_experts": {"key": "zero_expert_num", "default": 0},
                  "scaling": {"key": "routed_scaling_factor", "default": 6}}})json",
    // Step-3.5 and 3.7 Flash: lists such as swiglu_limits count layers, not experts
    R"json({"model_type": ["step3p5", "step3p7", "step3p7_text"],
      "keys": {"experts": ["moe_num_experts", "n_routed_experts"]},
      "router": {"weight": "moe.gate.weight", "correction_bias": "moe.router_bias"},
      "experts": {"prefix": "moe.experts.{}."},
      "fused": {"gate_up": "moe.gate_up_proj", "gate": "moe.gate_proj", "up": "moe.up_proj", "down": "moe.down_proj"},
      "routing": {"scoring": "sigmoid", "top_k": {"key": "moe_top_k"},
                  "renormalize": {"key": "norm_expert_weight", "default": true}, "epsilon": 1e-20,
                  "scaling": {"key": "moe_router_scaling_factor", "default": 1}},
      "activation": "limited_silu", "activation_limit": {"key": "swiglu_limits", "default": 0}})json",
};

}  // namespace families
CULL_NAMESPACE_END
