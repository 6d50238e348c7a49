// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/executor.hpp>

CULL_NAMESPACE_BEGIN

/// A storage format of a weight matrix `[rows, cols]`.
///
/// `parts`: a trivially copyable struct that points at the tensors the matrix consists of and holds its strides; where the
/// scales lie (beside, inside blocks, per 128x128), whether storage is transposed or one slice of a fused 3-D tensor is the
/// format's own business. `group`: how many consecutive columns `decode_group` writes; `cols` is a multiple of it.
/// `decode_group(parts, row, g, out)`: columns `[g*group, (g+1)*group)` of `row`, exact in f32, *without* the outer scale.
/// `outer_scale(parts)`: factor of the whole matrix, f32 or f64, applied to finished sums of products (1 where there is none).
/// Optional `dequantize_group(parts, row, g, out)`: the format's own bit-exact value, outer scale included.
template <class F>
concept matrix_format = std::is_trivially_copyable_v<typename F::parts> &&
                        requires(typename F::parts const& parts, std::int64_t i, float* out) {
                          { F::group } -> std::convertible_to<std::int64_t>;
                          { F::decode_group(parts, i, i, out) } noexcept;
                          { F::outer_scale(parts) } noexcept -> std::convertible_to<double>;
                        };

/// A weight matrix `[rows, cols]` of format `F` in memory `Space`: a view, trivially copyable.
template <matrix_format F, class Space = host_memory>
struct matrix {
  using format = F;
  using memory_space = Space;

  typename F::parts parts{};
  std::int64_t rows = 0;
  std::int64_t cols = 0;
};

CULL_NAMESPACE_END
