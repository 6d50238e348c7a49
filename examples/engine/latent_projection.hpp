// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cull/tensor.hpp>

#include <engine/dense.hpp>
#include <engine/model_config.hpp>

namespace engine {

/// `kv_b_proj` `[heads * (nope + value), latent]`, used without expanding cached latents: its key half is moved to the query,
/// its value half behind the attention sum, so that a cached position stays `latent` values wide.
class latent_projection {
 public:
  latent_projection() = default;
  latent_projection(cull::weight_matrix weight, latent_sizes const& sizes) : weight_(weight), sizes_(&sizes) {}

  /// From queries `[m, heads * (nope + rotary)]` (rotary part turned) to `[m, heads * (latent + rotary)]`.
  buffer absorb_keys(dense const& products, matrix_view<float const> queries) const;
  /// From attended latents `[m, heads * latent]` to values `[m, heads * value]`.
  buffer expand_values(dense const& products, matrix_view<float const> latents) const;

 private:
  cull::weight_matrix weight_;
  latent_sizes const* sizes_ = nullptr;
};

}  // namespace engine
