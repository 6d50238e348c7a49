// SPDX-License-Identifier: Apache-2.0
// GGUF's 4-bit blocks (ggml types 40 and 39) as they lie in memory: scales inside, the codes of the two halves in one byte.
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/numeric/e2m1.hpp>
#include <cull/numeric/e4m3.hpp>
#include <cull/numeric/e8m0.hpp>
#include <cull/tensor/matrix.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// `bytes` bytes of codes times `factor`: byte j holds element j in its low and element j + `bytes` in its high nibble.
CULL_HD constexpr void decode_e2m1_halves(std::uint8_t const* codes, std::int64_t bytes, float factor, float* out) noexcept {
  for (std::int64_t j = 0; j < bytes; ++j) {
    out[j] = e2m1{static_cast<std::uint8_t>(codes[j] & 15u)}.decode() * factor;
    out[j + bytes] = e2m1{static_cast<std::uint8_t>(codes[j] >> 4)}.decode() * factor;
  }
}

/// ggml's UE4M3: e4m3 without its sign bit; 0x7f, e4m3's NaN, is zero.
CULL_HD constexpr float decode_ue4m3(std::uint8_t bits) noexcept {
  e4m3 const magnitude{static_cast<std::uint8_t>(bits & 0x7fu)};
  return magnitude.is_nan() ? 0.0f : magnitude.decode();
}

}  // namespace detail

/// GGUF's NVFP4: rows of 36-byte blocks of 64 columns, four UE4M3 scales (one per 16 columns) and 4 x 8 bytes of codes; the
/// tensor scale, a multiplier, lies beside in `<tensor>.scale`. Value = (code * block scale) * scale; code * block scale is
/// exact. Rows may be every `row_step`-th of the stored ones.
struct gguf_nvfp4 {
  struct parts {
    std::uint8_t const* blocks = nullptr;  // [rows, cols / 64, 36]
    std::int64_t cols = 0;
    float scale = 1.0f;
    std::int64_t row_step = 1;
  };
  static constexpr std::int64_t group = 64;
  static constexpr std::int64_t block_bytes = 36;

  CULL_HD static void decode_group(parts const& p, std::int64_t row, std::int64_t g, float* out) noexcept {
    std::uint8_t const* block = p.blocks + block_bytes * (row * p.row_step * (p.cols / group) + g);
    for (int i = 0; i < 4; ++i) detail::decode_e2m1_halves(block + 4 + 8 * i, 8, detail::decode_ue4m3(block[i]), out + 16 * i);
  }
  CULL_HD static float outer_scale(parts const& p) noexcept { return p.scale; }
};

/// GGUF's MXFP4: rows of 17-byte blocks of 32 columns, a scale and 16 bytes of codes. Value = code * 2^(scale - 127), as `mxfp4`;
/// scale 0xff makes the block NaN as OCP MX 1.0 has it (ggml computes with 2^128 there). Rows may be every `row_step`-th stored
/// one.
struct gguf_mxfp4 {
  struct parts {
    std::uint8_t const* blocks = nullptr;  // [rows, cols / 32, 17]
    std::int64_t cols = 0;
    std::int64_t row_step = 1;
  };
  static constexpr std::int64_t group = 32;
  static constexpr std::int64_t block_bytes = 17;

  CULL_HD static void decode_group(parts const& p, std::int64_t row, std::int64_t g, float* out) noexcept {
    std::uint8_t const* block = p.blocks + block_bytes * (row * p.row_step * (p.cols / group) + g);
    detail::decode_e2m1_halves(block + 1, 16, e8m0{block[0]}.decode(), out);
  }
  CULL_HD static float outer_scale(parts const&) noexcept { return 1.0f; }
};

static_assert(matrix_format<gguf_nvfp4> && matrix_format<gguf_mxfp4>);

CULL_NAMESPACE_END
