// SPDX-License-Identifier: Apache-2.0
#include <engine/model_config.hpp>

#include <string>

#include <cull/error.hpp>

namespace engine {
namespace {

[[noreturn]] void refuse(cull::checkpoint const& model, std::string const& why) {
  throw cull::error{cull::errc::unsupported_model, why, {.file = (model.dir() / "config.json").string()}};
}

std::vector<bool> indexer_kinds(cull::checkpoint const& model, int layers) {
  auto const kinds = model.config().texts("indexer_types");
  if (static_cast<int>(kinds.size()) != layers) refuse(model, "indexer_types must have an entry per layer");
  std::vector<bool> full;
  for (auto const& kind : kinds) {
    if (kind != "full" && kind != "shared") refuse(model, "indexer_types knows 'full' and 'shared', not '" + kind + "'");
    full.push_back(kind == "full");
  }
  if (!full.front()) refuse(model, "the first layer's indexer must be 'full'");
  full.push_back(true);  // the MTP layer has its own
  return full;
}

void check_supported(cull::checkpoint const& model) {
  auto const& config = model.config();
  if (config.text("model_type") != "glm_moe_dsa") {
    refuse(model, "this decoder runs model_type glm_moe_dsa, not '" + config.text("model_type") +
                      "'; calibrate other models from recorded states");
  }
  if (config.has("attention_bias") && config.boolean("attention_bias")) refuse(model, "attention_bias is not supported");
  if (config.has("rope_interleave") && !config.boolean("rope_interleave")) refuse(model, "rope_interleave must be true");
  if (config.has("rope_parameters.rope_type") && config.text("rope_parameters.rope_type") != "default") {
    refuse(model, "rope_type '" + config.text("rope_parameters.rope_type") + "' is not supported, only 'default'");
  }
  if (model.mtp_layers().size() > 1) refuse(model, "more than one MTP layer is not supported");
}

void check_sizes(model_config const& c, cull::checkpoint const& model) {
  for (auto const size : {c.hidden, c.vocabulary, c.heads, c.query_rank, c.latent, c.nope, c.rotary, c.value, c.index_heads,
                          c.index_dim, c.index_topk, static_cast<std::int64_t>(c.layers)}) {
    if (size <= 0)
      throw cull::error{cull::errc::bad_config, "sizes must be positive", {.file = (model.dir() / "config.json").string()}};
  }
  if (c.rotary % 2 != 0 || c.rotary > c.index_dim) {
    throw cull::error{cull::errc::bad_config,
                      "qk_rope_head_dim must be even and at most index_head_dim",
                      {.file = (model.dir() / "config.json").string()}};
  }
}

}  // namespace

model_config read_model_config(cull::checkpoint const& model) {
  check_supported(model);
  auto const& config = model.config();
  model_config out;
  out.layers = static_cast<int>(config.integer("num_hidden_layers"));
  out.first_dense = static_cast<int>(config.integer("first_k_dense_replace", 0));
  out.has_mtp = !model.mtp_layers().empty();
  out.hidden = config.integer("hidden_size");
  out.vocabulary = config.integer("vocab_size");
  out.heads = config.integer("num_attention_heads");
  out.query_rank = config.integer("q_lora_rank");
  out.latent = config.integer("kv_lora_rank");
  out.nope = config.integer("qk_nope_head_dim");
  out.rotary = config.integer("qk_rope_head_dim");
  out.value = config.integer("v_head_dim");
  out.index_heads = config.integer("index_n_heads");
  out.index_dim = config.integer("index_head_dim");
  out.index_topk = config.integer("index_topk");
  out.rope_theta =
      config.has("rope_parameters.rope_theta") ? config.number("rope_parameters.rope_theta") : config.number("rope_theta");
  out.epsilon = config.number("rms_norm_eps");
  for (auto const id : config.integers("eos_token_id")) out.eos.push_back(static_cast<int>(id));
  check_sizes(out, model);
  out.full_indexer = indexer_kinds(model, out.layers);
  return out;
}

}  // namespace engine
