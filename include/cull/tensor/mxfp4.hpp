// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/numeric/e2m1.hpp>
#include <cull/numeric/e8m0.hpp>
#include <cull/tensor/matrix.hpp>

CULL_NAMESPACE_BEGIN

/// MXFP4 (OCP MX 1.0): `[rows, cols]` of e2m1 codes, two to a byte (low nibble first), one power of two per 32 columns.
///
/// The bytes of modelopt's and compressed-tensors' `weight` [rows, cols / 2] and `weight_scale` [rows, cols / 32], and of
/// GPT-OSS's `blocks` [rows, cols / 32, 16] and `scales` [rows, cols / 32]. Value = code * 2^(scale - 127), exact in f32 (scale
/// 0x00 is the subnormal 2^-127) but for magnitudes of 2^128 and more (scale 0xfd and 0xfe with codes from 4 and 2 on), which are
/// infinity as in modelopt; scale 0xff makes its 32 values NaN. Rows may be every `row_step`-th of the stored ones (gate and up
/// interleaved: 2), from stored row f with `codes` f * cols / 2 and `scales` f * cols / 32 bytes further.
struct mxfp4 {
  struct parts {
    std::uint8_t const* codes = nullptr;   // [rows, cols / 2]
    std::uint8_t const* scales = nullptr;  // [rows, cols / 32]
    std::int64_t cols = 0;
    std::int64_t row_step = 1;
  };
  static constexpr std::int64_t group = 32;

  CULL_HD static void decode_group(parts const& p, std::int64_t row, std::int64_t g, float* out) noexcept {
    auto const block = row * p.row_step * (p.cols / group) + g;
    decode_e2m1_pairs(p.codes + block * (group / 2), group / 2, e8m0{p.scales[block]}.decode(), out);
  }
  CULL_HD static float outer_scale(parts const&) noexcept { return 1.0f; }
};

static_assert(matrix_format<mxfp4>);

CULL_NAMESPACE_END
