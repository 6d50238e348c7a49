// SPDX-License-Identifier: Apache-2.0
#include <engine/indexer.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace engine {

indexer::indexer(cull::checkpoint const& model, model_config const& config, std::string const& prefix, dense const& products)
    : sizes_(config.latent),
      rotary_(config.rotary),
      products_(products),
      query_(load_matrix(model, prefix + "wq_b.weight", sizes_.index_heads * sizes_.index_dim, sizes_.query_rank)),
      key_(load_matrix(model, prefix + "wk.weight", sizes_.index_dim, config.hidden)),
      head_weight_(load_matrix(model, prefix + "weights_proj.weight", sizes_.index_heads, config.hidden)),
      key_norm_(load_vector(model, prefix + "k_norm.weight", sizes_.index_dim),
                load_vector(model, prefix + "k_norm.bias", sizes_.index_dim), 1e-6) {}

void indexer::remember(matrix_view<float const> x, std::span<std::vector<float> const> turns,
                       std::span<token_place const> places) const {
  buffer keys = products_(x, key_);
  for (std::int64_t t = 0; t < x.rows(); ++t) {
    auto const at = static_cast<std::size_t>(t);
    key_norm_.row(keys.row(t));
    rotary_.rotate(turns[at], keys.row(t));
    places[at].cache->append_index(keys.row(t));
  }
}

void indexer::pick(matrix_view<float const> x, matrix_view<float const> query_latent, std::span<std::vector<float> const> turns,
                   std::span<token_place const> places) const {
  auto const needed = [&](token_place const& place) { return place.position + 1 > sizes_.index_topk; };
  for (auto const& place : places) place.picks->clear();
  if (std::none_of(places.begin(), places.end(), needed)) return;
  buffer queries = products_(query_latent, query_);
  buffer weights = products_(x, head_weight_);
  auto const scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(sizes_.index_heads)));
  for_each_index(products_.exec(), x.rows(), [&](std::int64_t t) {
    auto const& place = places[static_cast<std::size_t>(t)];
    if (!needed(place)) return;
    for (std::int64_t h = 0; h < sizes_.index_heads; ++h) {
      rotary_.rotate(turns[static_cast<std::size_t>(t)], queries.row(t) + h * sizes_.index_dim);
      weights.row(t)[h] *= scale;
    }
    *place.picks = best(queries.row(t), weights.row(t), place);
  });
}

picked_positions indexer::best(float const* query, float const* head_weight, token_place const& place) const {
  auto const dim = sizes_.index_dim;
  auto const scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim)));
  std::vector<float> score;
  for (std::int64_t s = 0; s <= place.position; ++s) {
    double sum = 0;
    for (std::int64_t h = 0; h < sizes_.index_heads; ++h) {
      float const match = static_cast<float>(dot(query + h * dim, place.cache->index_key(s), dim)) * scale;
      sum += static_cast<double>(head_weight[h]) * static_cast<double>(std::max(match, 0.0f));
    }
    // NaN would break the order of the sort below.
    score.push_back(std::isnan(sum) ? -std::numeric_limits<float>::infinity() : static_cast<float>(sum));
  }
  picked_positions out(score.size());
  std::iota(out.begin(), out.end(), 0);
  auto const better = [&](std::int32_t a, std::int32_t b) {
    auto const of = [&](std::int32_t s) { return score[static_cast<std::size_t>(s)]; };
    return of(a) != of(b) ? of(a) > of(b) : a < b;
  };
  auto const end = out.begin() + sizes_.index_topk;
  std::nth_element(out.begin(), end, out.end(), better);
  std::sort(out.begin(), end);
  return {out.begin(), end};  // copied: picks are kept for all tokens, and `out` has room for every position
}

}  // namespace engine
