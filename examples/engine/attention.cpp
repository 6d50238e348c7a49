// SPDX-License-Identifier: Apache-2.0
#include <engine/attention.hpp>

#include <algorithm>
#include <cmath>

#include <cull/numeric/exp.hpp>

namespace engine {
namespace {

// transformers builds these two norms without the config's epsilon, so its class default holds.
constexpr double low_rank_epsilon = 1e-6;

/// Weights of a softmax before division, in place; returns their sum.
double exponentials(std::vector<float>& scores) {
  float const top = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (float& score : scores) {
    score = cull::exp_f32(score - top);
    sum += static_cast<double>(score);
  }
  return sum;
}

}  // namespace

attention::attention(cull::checkpoint const& model, model_config const& c, std::string const& prefix, bool full,
                     dense const& products)
    : config_(c),
      products_(products),
      rope_(c.rotary, c.rope_theta),
      query_a_(load_matrix(model, prefix + "q_a_proj.weight", c.query_rank, c.hidden)),
      query_b_(load_matrix(model, prefix + "q_b_proj.weight", c.heads * c.query_dim(), c.query_rank)),
      key_value_a_(load_matrix(model, prefix + "kv_a_proj_with_mqa.weight", c.key_dim(), c.hidden)),
      output_(load_matrix(model, prefix + "o_proj.weight", c.hidden, c.heads * c.value)),
      query_norm_(load_vector(model, prefix + "q_a_layernorm.weight", c.query_rank), low_rank_epsilon),
      latent_norm_(load_vector(model, prefix + "kv_a_layernorm.weight", c.latent), low_rank_epsilon),
      key_value_b_(load_matrix(model, prefix + "kv_b_proj.weight", c.heads * (c.nope + c.value), c.latent), c) {
  if (full) indexer_.emplace(model, c, prefix + "indexer.", products);
}

buffer attention::operator()(matrix_view<float const> x, std::span<token_place const> places) const {
  std::vector<std::vector<float>> turns;
  for (auto const& place : places) turns.push_back(rope_.turn(place.position));
  buffer const query_latent = query_norm_(products_(x, query_a_).view());
  remember(x, turns, places);
  if (indexer_) {
    indexer_->remember(x, turns, places);
    indexer_->pick(x, query_latent.view(), turns, places);
  }
  buffer const absorbed = queries(query_latent.view(), turns);
  buffer latents{x.rows(), config_.heads * config_.latent};
  for_each_index(products_.exec(), x.rows(), [&](std::int64_t t) {
    for (std::int64_t h = 0; h < config_.heads; ++h) {
      attend(absorbed.row(t) + h * config_.key_dim(), places[static_cast<std::size_t>(t)], latents.row(t) + h * config_.latent);
    }
  });
  round_activations(products_.policy(), latents.view());
  return products_(key_value_b_.expand_values(products_, latents.view()).view(), output_);
}

void attention::remember(matrix_view<float const> x, std::span<std::vector<float> const> turns,
                         std::span<token_place const> places) const {
  buffer keys = products_(x, key_value_a_);
  for (std::int64_t t = 0; t < x.rows(); ++t) {
    auto const at = static_cast<std::size_t>(t);
    latent_norm_.row(keys.row(t), keys.row(t));
    rope::rotate(turns[at], keys.row(t) + config_.latent);
    places[at].cache->append(keys.row(t));
  }
}

buffer attention::queries(matrix_view<float const> query_latent, std::span<std::vector<float> const> turns) const {
  buffer out = products_(query_latent, query_b_);
  for (std::int64_t t = 0; t < out.rows(); ++t) {
    for (std::int64_t h = 0; h < config_.heads; ++h) {
      rope::rotate(turns[static_cast<std::size_t>(t)], out.row(t) + h * config_.query_dim() + config_.nope);
    }
  }
  round_activations(products_.policy(), out.view());
  return key_value_b_.absorb_keys(products_, out.view());
}

void attention::attend(float const* query, token_place const& place, float* latent) const {
  auto const& picks = *place.picks;
  auto const count = picks.empty() ? place.position + 1 : static_cast<std::int64_t>(picks.size());
  auto const key = [&](std::int64_t i) { return place.cache->key(picks.empty() ? i : picks[static_cast<std::size_t>(i)]); };
  double const scale = 1.0 / std::sqrt(static_cast<double>(config_.query_dim()));
  std::vector<float> weights(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    weights[static_cast<std::size_t>(i)] = static_cast<float>(dot(query, key(i), config_.key_dim()) * scale);
  }
  double const total = exponentials(weights);
  std::vector<double> sums(static_cast<std::size_t>(config_.latent));
  for (std::int64_t i = 0; i < count; ++i) accumulate(sums.data(), weights[static_cast<std::size_t>(i)], key(i), config_.latent);
  for (std::int64_t j = 0; j < config_.latent; ++j) latent[j] = static_cast<float>(sums[static_cast<std::size_t>(j)] / total);
}

}  // namespace engine
