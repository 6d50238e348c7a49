// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cull/config.hpp>
#include <cull/numeric/bf16.hpp>

CULL_NAMESPACE_BEGIN

/// What happens to activations before a product. Weights are always decoded exactly.
struct f32_precision {
  CULL_HD static constexpr float activation(float value) noexcept { return value; }
};

/// Activations rounded to bf16, as the bf16 model itself does. Weights whose decoded values are not bf16 values keep them in f32.
struct bf16_precision {
  CULL_HD static constexpr float activation(float value) noexcept { return bf16::encode(value).decode(); }
};

/// For few tokens per expert: `expert_mlp<latency<f32_precision>>(...)` runs kernels that are bound by reading the weights, where
/// those of `Precision` itself are made for many. The choice is the type's, never the batch's: a token has the same bits alone
/// and in company.
///
/// On a CPU with AVX2, experts and matrices in NVFP4 are multiplied in fixed point: the values of each block of 16 become whole
/// multiples of a power of two, which moves them by up to 1.01 times 2^-23 (f32) or, after they were rounded to bf16, 2^-15 (bf16)
/// of the block's largest: as f32 products where values of a block are alike, less near where one stands out and its weight is
/// small; a block's sum of products with the codes is exact, rounded once, times its scale, and added by FMA.
/// The bits are the same from AVX2 on, and not those of `Precision`. A block with an infinity or NaN makes its token's sums NaN;
/// of blocks below 2^-90 values are multiples of 2^-113 (f32) or 2^-105 (bf16). Everything else runs as `Precision`. On CUDA: 8
/// tokens at a time instead of 64, and the bits of `Precision`.
template <class Precision>
struct latency : Precision {
  using precision = Precision;
};

namespace detail {

/// `Precision` of it and of `latency` of it.
template <class Policy>
struct precision_of {
  using type = Policy;
};
template <class Precision>
struct precision_of<latency<Precision>> {
  using type = Precision;
};

}  // namespace detail

CULL_NAMESPACE_END
