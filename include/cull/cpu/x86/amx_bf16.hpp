// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cpu/x86/amx_tiles.hpp>
#include <cull/cpu/x86/avx512_bf16.hpp>
#include <cull/cpu/x86/transpose.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// Products of bf16 on tile registers (tdpbf16ps): 32 rows by 32 tokens in four of them. Rows are decoded in the order of
/// `avx512_bf16_kernel`; of tokens, pairs of columns of 16 lie together, as the instruction wants its second factor. Sums are
/// other than those of vdpbf16ps: 16 pairs of columns at a time, even and odd ones apart. Few tokens fill tiles up with zeros.
struct amx_bf16_kernel : avx512_bf16_kernel {
  static constexpr int tokens = 32;
  static constexpr int rows = 32;
  static constexpr std::int64_t chunk = 1024;
  static constexpr std::int64_t direct_tokens = 0;

  /// Turns the filled rows of a chunk, `size` columns of `tokens` tokens, into second factors, in place.
  CULL_TARGET_AVX512_BF16 static void interleave(std::uint16_t* x, std::int64_t stride, std::int64_t size) noexcept {
    for (int half = 0; half < 2; ++half, x += 16 * stride) {
      for (std::int64_t k = 0; k < size; k += group) transpose_16(x + k, stride * 2, x + k, stride * 2);
    }
  }

  CULL_TARGET_AVX512_BF16 static void multiply(std::uint16_t const* x, std::int64_t x_stride, std::uint16_t const* w,
                                               std::int64_t w_stride, std::int64_t size, float* sums, bool first) noexcept {
    alignas(64) float products[4][16][16];  // of rows 0 to 15 with tokens 0 to 15, 16 to 31, then of rows 16 to 31
    auto const x_step = 2 * x_stride, w_step = 2 * w_stride;
    amx_tiles::configure();
    amx_tiles::zero<0>();
    amx_tiles::zero<1>();
    amx_tiles::zero<2>();
    amx_tiles::zero<3>();
    for (std::int64_t k = 0; k < size; k += group) {
      amx_tiles::load<4>(w + k, w_step);
      amx_tiles::load<6>(x + k, x_step);
      amx_tiles::add_products<0, 4, 6>();
      amx_tiles::load<7>(x + 16 * x_stride + k, x_step);
      amx_tiles::add_products<1, 4, 7>();
      amx_tiles::load<5>(w + 16 * w_stride + k, w_step);
      amx_tiles::add_products<2, 5, 6>();
      amx_tiles::add_products<3, 5, 7>();
    }
    amx_tiles::store<0>(products[0], 64);
    amx_tiles::store<1>(products[1], 64);
    amx_tiles::store<2>(products[2], 64);
    amx_tiles::store<3>(products[3], 64);
    amx_tiles::release();
    for (int i = 0; i < 4; ++i) add_turned(products[i][0], sums + i % 2 * 16 * rows + i / 2 * 16, first);
  }

 private:
  /// [row][token] onto `sums`, [token][row].
  CULL_TARGET_AVX512_BF16 static void add_turned(float* products, float* sums, bool first) noexcept {
    transpose_16(products, 64, products, 64);
    for (int t = 0; t < 16; ++t) {
      auto sum = _mm512_load_ps(products + 16 * t);
      if (!first) sum = _mm512_add_ps(_mm512_loadu_ps(sums + t * rows), sum);
      _mm512_storeu_ps(sums + t * rows, sum);
    }
  }
};

}  // namespace detail

CULL_NAMESPACE_END

#endif
