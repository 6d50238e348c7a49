// SPDX-License-Identifier: Apache-2.0
#include <engine/latent_attention.hpp>

#include <cmath>

namespace engine {
namespace {

// transformers builds these two norms without the config's epsilon, so its class default holds.
constexpr double low_rank_epsilon = 1e-6;

cull::weight_matrix load_query(cull::checkpoint const& model, latent_sizes const& c, std::string const& prefix) {
  auto const rows = c.heads * c.query_dim();
  return c.query_rank > 0 ? load_matrix(model, prefix + "q_b_proj.weight", rows, c.query_rank)
                          : load_matrix(model, prefix + "q_proj.weight", rows, c.hidden);
}

}  // namespace

latent_attention::latent_attention(cull::checkpoint const& model, model_config const& config, std::string const& prefix,
                                   bool full, dense const& products)
    : config_(config),
      sizes_(config.latent),
      products_(products),
      query_b_(load_query(model, sizes_, prefix)),
      key_value_a_(load_matrix(model, prefix + "kv_a_proj_with_mqa.weight", sizes_.key_dim(), sizes_.hidden)),
      output_(load_matrix(model, prefix + "o_proj.weight", sizes_.hidden, sizes_.heads * sizes_.value)),
      latent_norm_(load_vector(model, prefix + "kv_a_layernorm.weight", sizes_.latent), low_rank_epsilon),
      key_value_b_(load_matrix(model, prefix + "kv_b_proj.weight", sizes_.heads * (sizes_.nope + sizes_.value), sizes_.latent),
                   sizes_) {
  if (sizes_.query_rank > 0) {
    query_a_ = load_matrix(model, prefix + "q_a_proj.weight", sizes_.query_rank, sizes_.hidden);
    query_norm_ = {load_vector(model, prefix + "q_a_layernorm.weight", sizes_.query_rank), low_rank_epsilon};
  }
  if (full) indexer_.emplace(model, config, prefix + "indexer.", products);
}

buffer latent_attention::operator()(matrix_view<float const> x, std::span<token_place const> places) const {
  auto const turns = turns_of(config_.rotary, places);
  buffer const query_latent = query_latents(x);
  auto const query_input = query_a_ ? query_latent.view() : x;
  remember(x, turns, places);
  if (indexer_) {
    indexer_->remember(x, turns, places);
    indexer_->pick(x, query_input, turns, places);
  }
  buffer const absorbed = queries(query_input, turns);
  buffer latents{x.rows(), sizes_.heads * sizes_.latent};
  for_each_index(products_.exec(), x.rows(), [&](std::int64_t t) {
    for (std::int64_t h = 0; h < sizes_.heads; ++h) {
      attend(absorbed.row(t) + h * sizes_.key_dim(), places[static_cast<std::size_t>(t)], latents.row(t) + h * sizes_.latent);
    }
  });
  round_activations(products_.policy(), latents.view());
  return products_(key_value_b_.expand_values(products_, latents.view()).view(), output_);
}

buffer latent_attention::query_latents(matrix_view<float const> x) const {
  return query_a_ ? query_norm_(products_(x, *query_a_).view()) : buffer{};
}

void latent_attention::remember(matrix_view<float const> x, std::span<std::vector<float> const> turns,
                                std::span<token_place const> places) const {
  buffer keys = products_(x, key_value_a_);
  for (std::int64_t t = 0; t < x.rows(); ++t) {
    auto const at = static_cast<std::size_t>(t);
    latent_norm_.row(keys.row(t), keys.row(t));
    config_.rotary.rotate(turns[at], keys.row(t) + sizes_.latent);
    places[at].cache->append(keys.row(t));
  }
}

buffer latent_attention::queries(matrix_view<float const> query_latent, std::span<std::vector<float> const> turns) const {
  buffer out = products_(query_latent, query_b_);
  for (std::int64_t t = 0; t < out.rows(); ++t) {
    for (std::int64_t h = 0; h < sizes_.heads; ++h) {
      config_.rotary.rotate(turns[static_cast<std::size_t>(t)], out.row(t) + h * sizes_.query_dim() + sizes_.nope);
    }
  }
  round_activations(products_.policy(), out.view());
  return key_value_b_.absorb_keys(products_, out.view());
}

void latent_attention::attend(float const* query, token_place const& place, float* latent) const {
  auto const& picks = *place.picks;
  auto const count = picks.empty() ? place.position + 1 : static_cast<std::int64_t>(picks.size());
  auto const key = [&](std::int64_t i) { return place.cache->key(picks.empty() ? i : picks[static_cast<std::size_t>(i)]); };
  std::vector<float> weights(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    weights[static_cast<std::size_t>(i)] = static_cast<float>(dot(query, key(i), sizes_.key_dim()) * config_.softmax_scale);
  }
  double const total = exponentials(weights);
  std::vector<double> sums(static_cast<std::size_t>(sizes_.latent));
  for (std::int64_t i = 0; i < count; ++i) accumulate(sums.data(), weights[static_cast<std::size_t>(i)], key(i), sizes_.latent);
  for (std::int64_t j = 0; j < sizes_.latent; ++j) latent[j] = static_cast<float>(sums[static_cast<std::size_t>(j)] / total);
}

}  // namespace engine
