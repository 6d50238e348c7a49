// SPDX-License-Identifier: Apache-2.0
#include <engine/mtp.hpp>

#include <algorithm>

namespace engine {

mtp_layer::mtp_layer(cull::checkpoint const& model, model_config const& config, dense const& products)
    : products_(products), layer_(model, config, config.layers, products) {
  auto const prefix = "model.layers." + std::to_string(config.layers) + ".";
  auto const norm = [&](char const* name) { return rms_norm{load_vector(model, prefix + name, config.hidden), config.epsilon}; };
  embedding_norm_ = norm("enorm.weight");
  hidden_norm_ = norm("hnorm.weight");
  head_norm_ = norm("shared_head.norm.weight");
  join_ = load_matrix(model, prefix + "eh_proj.weight", config.hidden, 2 * config.hidden);
}

buffer mtp_layer::input(embedding const& embed, std::span<int const> next_ids, std::span<std::int64_t const> positions,
                        matrix_view<float const> normed) const {
  auto const width = normed.cols();
  buffer joined{normed.rows(), 2 * width};
  for (std::int64_t t = 0; t < normed.rows(); ++t) {
    auto const at = static_cast<std::size_t>(t);
    float* const row = joined.row(t);
    if (positions[at] != 0) embed.row(next_ids[at], row);
    embedding_norm_.row(row, row);
    hidden_norm_.row(normed.row(t).data(), row + width);
  }
  return products_(joined.view(), join_);
}

}  // namespace engine
