// SPDX-License-Identifier: Apache-2.0
#include <engine/latent_projection.hpp>

#include <algorithm>

#include <engine/dot.hpp>

namespace engine {
namespace {

float scaled(double sum, float scale) { return static_cast<float>(sum * static_cast<double>(scale)); }

}  // namespace

buffer latent_projection::absorb_keys(dense const& products, matrix_view<float const> queries) const {
  auto const& c = *sizes_;
  buffer out{queries.rows(), c.heads * c.key_dim()};
  for_each_index(products.exec(), c.heads, [&](std::int64_t head) {
    std::vector<double> sums(static_cast<std::size_t>(queries.rows() * c.latent));
    std::vector<float> row(static_cast<std::size_t>(c.latent));
    float scale = 1;
    for (std::int64_t r = 0; r < c.nope; ++r) {
      scale = decode_row(weight_, head * (c.nope + c.value) + r, row.data());
      for (std::int64_t t = 0; t < queries.rows(); ++t) {
        accumulate(sums.data() + t * c.latent, queries(t, head * c.query_dim() + r), row.data(), c.latent);
      }
    }
    for (std::int64_t t = 0; t < queries.rows(); ++t) {
      float* const to = out.row(t) + head * c.key_dim();
      for (std::int64_t j = 0; j < c.latent; ++j) to[j] = scaled(sums[static_cast<std::size_t>(t * c.latent + j)], scale);
      float const* const turned = queries.row(t).data() + head * c.query_dim() + c.nope;
      std::copy(turned, turned + c.rotary, to + c.latent);
    }
  });
  return out;
}

buffer latent_projection::expand_values(dense const& products, matrix_view<float const> latents) const {
  auto const& c = *sizes_;
  buffer out{latents.rows(), c.heads * c.value};
  for_each_index(products.exec(), c.heads, [&](std::int64_t head) {
    std::vector<float> row(static_cast<std::size_t>(c.latent));
    for (std::int64_t v = 0; v < c.value; ++v) {
      float const scale = decode_row(weight_, head * (c.nope + c.value) + c.nope + v, row.data());
      for (std::int64_t t = 0; t < latents.rows(); ++t) {
        out.row(t)[head * c.value + v] = scaled(dot(latents.row(t).data() + head * c.latent, row.data(), c.latent), scale);
      }
    }
  });
  return out;
}

}  // namespace engine
