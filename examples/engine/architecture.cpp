// SPDX-License-Identifier: Apache-2.0
#include <engine/architecture.hpp>

#include <algorithm>
#include <iterator>
#include <string>

#include <cull/error.hpp>

namespace engine {
namespace {

using enum attention_kind;
using enum rotary_pairs;

// After the modeling files of transformers 5.
constexpr architecture architectures[] = {
    {.model_type = "glm_moe_dsa", .attention = latent, .pairs = adjacent, .indexer = true},
    {.model_type = "deepseek_v2", .attention = latent, .pairs = adjacent},
    {.model_type = "deepseek_v3", .attention = latent, .pairs = adjacent},
    {.model_type = "kimi_k2", .attention = latent, .pairs = adjacent},
    {.model_type = "qwen3_moe", .query_key_norm = head_norm::per_head, .window = window_rule::every_layer},
    {.model_type = "glm4_moe", .query_key_norm = head_norm::as_config, .rotary_share = 0.5},
    {.model_type = "dots1", .query_key_norm = head_norm::per_head, .window = window_rule::by_layer_type},
    {.model_type = "ernie4_5_moe", .pairs = adjacent, .shared_count = "moe_num_shared_experts"},
    {.model_type = "mixtral", .window = window_rule::every_layer},
    {.model_type = "minimax_m2", .query_key_norm = head_norm::all_heads},
    {.model_type = "olmoe", .query_key_norm = head_norm::all_heads},
    {.model_type = "gpt_oss", .window = window_rule::by_layer_type, .sinks = true},
};

std::string known_types() {
  std::string out;
  for (auto const& each : architectures) out += (out.empty() ? "" : ", ") + std::string{each.model_type};
  return out;
}

}  // namespace

architecture const& architecture_of(cull::checkpoint const& model) {
  auto const type = model.config().text("model_type");
  auto const* const found =
      std::find_if(std::begin(architectures), std::end(architectures), [&](auto const& each) { return each.model_type == type; });
  if (found != std::end(architectures)) return *found;
  throw cull::error{cull::errc::unsupported_model,
                    "this decoder cannot run the layers of model_type '" + type + "', only those of " + known_types() +
                        "; record the inputs of the MoE blocks where the model runs (tensors block_input.L [tokens, hidden], and "
                        "expert_input.L where experts see something else) and give them instead: "
                        "cull calibrate MODEL --states F.safetensors... --out OBS",
                    {.file = model.config().file()}};
}

}  // namespace engine
