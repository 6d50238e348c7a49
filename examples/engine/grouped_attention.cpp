// SPDX-License-Identifier: Apache-2.0
#include <engine/grouped_attention.hpp>

#include <algorithm>

#include <engine/dot.hpp>

namespace engine {
namespace {

/// The norm of one head, or of all of them together.
rms_norm load_head_norm(cull::checkpoint const& model, model_config const& config, std::string const& name, std::int64_t heads) {
  auto const& sizes = config.grouped;
  if (!sizes.per_head_norm && !sizes.all_heads_norm) return {};
  return {load_vector(model, name, sizes.per_head_norm ? sizes.head : heads * sizes.head), config.epsilon};
}

void clip(buffer& values, std::optional<float> bound) {
  if (!bound) return;
  for (std::int64_t t = 0; t < values.rows(); ++t) {
    for (float* x = values.row(t); x != values.row(t) + values.cols(); ++x) *x = std::clamp(*x, -*bound, *bound);
  }
}

}  // namespace

grouped_attention::grouped_attention(cull::checkpoint const& model, model_config const& config, std::string const& prefix,
                                     std::int64_t window, dense const& products)
    : config_(config),
      sizes_(config.grouped),
      products_(products),
      window_(window),
      query_(model, prefix + "q_proj", sizes_.heads * sizes_.head, sizes_.hidden),
      key_(model, prefix + "k_proj", sizes_.key_heads * sizes_.head, sizes_.hidden),
      value_(model, prefix + "v_proj", sizes_.key_heads * sizes_.head, sizes_.hidden),
      output_(model, prefix + "o_proj", sizes_.hidden, sizes_.heads * sizes_.head),
      query_norm_(load_head_norm(model, config, prefix + "q_norm.weight", sizes_.heads)),
      key_norm_(load_head_norm(model, config, prefix + "k_norm.weight", sizes_.key_heads)) {
  if (sizes_.sinks) sinks_ = load_vector(model, prefix + "sinks", sizes_.heads);
}

buffer grouped_attention::operator()(matrix_view<float const> x, std::span<token_place const> places) const {
  auto const turns = turns_of(config_.rotary, places);
  buffer queries = query_(products_, x);
  finish(queries, query_norm_, turns);
  remember(x, turns, places);
  buffer attended{x.rows(), sizes_.heads * sizes_.head};
  for_each_index(products_.exec(), x.rows(), [&](std::int64_t t) {
    for (std::int64_t h = 0; h < sizes_.heads; ++h) {
      auto const at = h * sizes_.head;
      attend(queries.row(t) + at, h, places[static_cast<std::size_t>(t)], attended.row(t) + at);
    }
  });
  return output_(products_, attended.view());
}

void grouped_attention::finish(buffer& heads, rms_norm const& norm, std::span<std::vector<float> const> turns) const {
  if (norm.size() > 0) {
    for (std::int64_t t = 0; t < heads.rows(); ++t) {
      for (std::int64_t at = 0; at < heads.cols(); at += norm.size()) norm.row(heads.row(t) + at, heads.row(t) + at);
    }
  }
  clip(heads, sizes_.clip);
  for (std::int64_t t = 0; t < heads.rows(); ++t) {
    for (std::int64_t at = 0; at < heads.cols(); at += sizes_.head) {
      config_.rotary.rotate(turns[static_cast<std::size_t>(t)], heads.row(t) + at);
    }
  }
  round_activations(products_.policy(), heads.view());
}

void grouped_attention::remember(matrix_view<float const> x, std::span<std::vector<float> const> turns,
                                 std::span<token_place const> places) const {
  buffer keys = key_(products_, x);
  finish(keys, key_norm_, turns);
  buffer values = value_(products_, x);
  clip(values, sizes_.clip);
  round_activations(products_.policy(), values.view());
  std::vector<float> both(static_cast<std::size_t>(sizes_.key_dim()));
  for (std::int64_t t = 0; t < x.rows(); ++t) {
    std::copy(values.row(t), values.row(t) + values.cols(), std::copy(keys.row(t), keys.row(t) + keys.cols(), both.begin()));
    places[static_cast<std::size_t>(t)].cache->append(both.data());
  }
}

void grouped_attention::attend(float const* query, std::int64_t head, token_place const& place, float* out) const {
  auto const first = window_ > 0 ? std::max<std::int64_t>(place.position + 1 - window_, 0) : 0;
  auto const at = head / (sizes_.heads / sizes_.key_heads) * sizes_.head;
  auto const values = sizes_.key_heads * sizes_.head;
  std::vector<float> weights;
  for (std::int64_t i = first; i <= place.position; ++i) {
    weights.push_back(static_cast<float>(dot(query, place.cache->key(i) + at, sizes_.head) * config_.softmax_scale));
  }
  double const total = exponentials(weights, sizes_.sinks ? &sinks_[static_cast<std::size_t>(head)] : nullptr);
  std::vector<double> sums(static_cast<std::size_t>(sizes_.head));
  for (std::size_t i = 0; i < weights.size(); ++i) {
    auto const* const value = place.cache->key(first + static_cast<std::int64_t>(i)) + values + at;
    accumulate(sums.data(), weights[i], value, sizes_.head);
  }
  for (std::int64_t j = 0; j < sizes_.head; ++j) out[j] = static_cast<float>(sums[static_cast<std::size_t>(j)] / total);
}

}  // namespace engine
