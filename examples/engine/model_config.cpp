// SPDX-License-Identifier: Apache-2.0
#include <engine/model_config.hpp>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <string>

#include <cull/error.hpp>

namespace engine {
namespace {

[[noreturn]] void refuse(cull::config_view const& config, std::string const& why) {
  throw cull::error{cull::errc::unsupported_model, why, {.file = config.file()}};
}

void check_positive(cull::config_view const& config, std::initializer_list<std::int64_t> sizes) {
  if (std::all_of(sizes.begin(), sizes.end(), [](std::int64_t size) { return size > 0; })) return;
  throw cull::error{cull::errc::bad_config, "sizes must be positive", {.file = config.file()}};
}

void check_rotary(cull::config_view const& config, std::int64_t dims, std::int64_t most, char const* rule) {
  if (dims > 0 && dims % 2 == 0 && dims <= most) return;
  throw cull::error{cull::errc::bad_config, rule, {.file = config.file()}};
}

std::vector<bool> indexer_kinds(cull::config_view const& config, int layers) {
  auto const kinds = config.texts("indexer_types");
  if (static_cast<int>(kinds.size()) != layers) refuse(config, "indexer_types must have an entry per layer");
  std::vector<bool> full;
  for (auto const& kind : kinds) {
    if (kind != "full" && kind != "shared") refuse(config, "indexer_types knows 'full' and 'shared', not '" + kind + "'");
    full.push_back(kind == "full");
  }
  if (!full.front()) refuse(config, "the first layer's indexer must be 'full'");
  full.push_back(true);  // the MTP layer has its own
  return full;
}

void check_supported(cull::checkpoint const& model, architecture const& kind) {
  auto const& config = model.config();
  bool const latent = kind.attention == attention_kind::latent;
  if (latent && config.boolean("attention_bias", false)) refuse(config, "attention_bias is not supported in latent attention");
  if (latent && !config.boolean("rope_interleave", true)) refuse(config, "rope_interleave must be true");
  for (auto const* const key : {"use_bias", "mlp_bias"}) {
    if (config.boolean(key, false)) refuse(config, std::string{key} + " is not supported");
  }
  if (auto const act = config.text("hidden_act", "silu"); act != "silu")
    refuse(config, "hidden_act '" + act + "' is not supported");
  if (model.mtp_layers().size() > 1) refuse(config, "more than one MTP layer is not supported");
}

latent_sizes read_latent(cull::config_view const& config, model_config const& of) {
  latent_sizes out{.hidden = of.hidden,
                   .heads = config.integer("num_attention_heads"),
                   .query_rank = config.integer("q_lora_rank", 0),
                   .latent = config.integer("kv_lora_rank"),
                   .nope = config.integer("qk_nope_head_dim"),
                   .rotary = config.integer("qk_rope_head_dim"),
                   .value = config.integer("v_head_dim")};
  check_positive(config, {out.heads, out.latent, out.nope, out.value, out.query_rank + 1});
  check_rotary(config, out.rotary, out.rotary, "qk_rope_head_dim must be positive and even");
  if (!of.kind->indexer) return out;
  out.index_heads = config.integer("index_n_heads");
  out.index_dim = config.integer("index_head_dim");
  out.index_topk = config.integer("index_topk");
  check_positive(config, {out.index_heads, out.index_dim, out.index_topk, out.query_rank});
  check_rotary(config, out.rotary, out.index_dim, "qk_rope_head_dim must be at most index_head_dim");
  out.full_indexer = indexer_kinds(config, of.layers);
  return out;
}

/// `sliding_window` of each layer that has one.
std::vector<std::int64_t> read_windows(cull::config_view const& config, model_config const& of) {
  if (of.kind->window == window_rule::none) return {};
  std::vector<std::string> types(static_cast<std::size_t>(of.layers),
                                 of.kind->window == window_rule::every_layer ? "sliding_attention" : "full_attention");
  if (of.kind->window == window_rule::by_layer_type) types = config.texts("layer_types");
  if (types.size() < static_cast<std::size_t>(of.layers)) refuse(config, "layer_types must have an entry per layer");
  bool const used = config.has("sliding_window") && config.boolean("use_sliding_window", true);
  std::vector<std::int64_t> out;
  for (auto const& type : types) {
    if (type != "full_attention" && type != "sliding_attention") refuse(config, "layer type '" + type + "' is not supported");
    out.push_back(used && type == "sliding_attention" ? config.integer("sliding_window") : 0);
    if (out.back() < 0) refuse(config, "sliding_window must not be negative");
  }
  return out;
}

grouped_sizes read_grouped(cull::config_view const& config, model_config const& of) {
  auto const norm = of.kind->query_key_norm;
  grouped_sizes out{.hidden = of.hidden, .heads = config.integer("num_attention_heads")};
  check_positive(config, {out.heads});
  out.key_heads = config.integer("num_key_value_heads", out.heads);
  out.head = config.integer("head_dim", of.hidden / out.heads);
  check_positive(config, {out.key_heads, out.head});
  if (out.heads % out.key_heads != 0) refuse(config, "num_attention_heads must be a multiple of num_key_value_heads");
  out.per_head_norm = norm == head_norm::per_head || (norm == head_norm::as_config && config.boolean("use_qk_norm", false));
  out.all_heads_norm = norm == head_norm::all_heads;
  out.sinks = of.kind->sinks;
  out.window = read_windows(config, of);
  if (config.has("clip_qkv")) out.clip = static_cast<float>(config.number("clip_qkv"));
  return out;
}

/// Values of a head that turn: a share of it, or `rotary_dim` as some files say.
std::int64_t rotary_dims(cull::config_view const& config, architecture const& kind, std::int64_t head) {
  if (config.has("rotary_dim")) return config.integer("rotary_dim");
  double const share =
      config.number("rope_parameters.partial_rotary_factor", config.number("partial_rotary_factor", kind.rotary_share));
  return static_cast<std::int64_t>(static_cast<double>(head) * share);
}

}  // namespace

model_config read_model_config(cull::checkpoint const& model) {
  auto const& config = model.config();
  model_config out;
  out.kind = &architecture_of(model);
  check_supported(model, *out.kind);
  out.layers = static_cast<int>(config.integer("num_hidden_layers"));
  out.has_mtp = !model.mtp_layers().empty();
  out.hidden = config.integer("hidden_size");
  out.vocabulary = config.integer("vocab_size");
  out.epsilon = config.number("rms_norm_eps");
  check_positive(config, {out.layers, out.hidden, out.vocabulary});
  if (config.has("eos_token_id")) {
    for (auto const id : config.integers("eos_token_id")) out.eos.push_back(static_cast<int>(id));
  }
  if (out.kind->attention == attention_kind::latent) {
    out.latent = read_latent(config, out);
    out.rotary = read_rope(config, out.latent.rotary, out.kind->pairs);
    out.softmax_scale = yarn_softmax_factor(config) / std::sqrt(static_cast<double>(out.latent.query_dim()));
  } else {
    out.grouped = read_grouped(config, out);
    auto const turned = rotary_dims(config, *out.kind, out.grouped.head);
    check_rotary(config, turned, out.grouped.head, "the rotary part of a head must be even and fit into head_dim");
    out.rotary = read_rope(config, turned, out.kind->pairs);
    out.softmax_scale = 1 / std::sqrt(static_cast<double>(out.grouped.head));
  }
  return out;
}

void replace_index_topk(model_config& config, std::int64_t index_topk) {
  if (index_topk <= 0) throw cull::error{cull::errc::out_of_range, "index_topk must be positive"};
  if (config.latent.full_indexer.empty()) throw cull::error{cull::errc::out_of_range, "index_topk: this model has no indexer"};
  config.latent.index_topk = index_topk;
}

}  // namespace engine
