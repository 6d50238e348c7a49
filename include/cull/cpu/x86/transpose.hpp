// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cpu/x86/targets.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// 16 rows of 16 words of 32 bits, `from_step` and `to_step` bytes apart; may be done in place.
CULL_TARGET_AVX512 inline void transpose_16(void const* from, std::int64_t from_step, void* to, std::int64_t to_step) noexcept {
  __m512i a[16], b[16];
  CULL_UNROLL(16)
  for (int i = 0; i < 16; ++i) a[i] = _mm512_loadu_si512(static_cast<char const*>(from) + i * from_step);
  // Within 128 bits: words of two rows, then of four.
  CULL_UNROLL(8)
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_maskz_unpacklo_epi32(0xffff, a[i], a[i + 1]);
    b[i + 1] = _mm512_maskz_unpackhi_epi32(0xffff, a[i], a[i + 1]);
  }
  CULL_UNROLL(4)
  for (int i = 0; i < 16; i += 4) {
    CULL_UNROLL(2)
    for (int j = 0; j < 2; ++j) {
      a[i + 2 * j] = _mm512_maskz_unpacklo_epi64(0xff, b[i + j], b[i + j + 2]);
      a[i + 2 * j + 1] = _mm512_maskz_unpackhi_epi64(0xff, b[i + j], b[i + j + 2]);
    }
  }
  // a[4 i + j] holds, in its L-th 128 bits, words 4 L + j of rows 4 i to 4 i + 3.
  CULL_UNROLL(4)
  for (int j = 0; j < 4; ++j) {
    auto const even_low = _mm512_maskz_shuffle_i32x4(0xffff, a[j], a[4 + j], 0x88);
    auto const odd_low = _mm512_maskz_shuffle_i32x4(0xffff, a[j], a[4 + j], 0xdd);
    auto const even_high = _mm512_maskz_shuffle_i32x4(0xffff, a[8 + j], a[12 + j], 0x88);
    auto const odd_high = _mm512_maskz_shuffle_i32x4(0xffff, a[8 + j], a[12 + j], 0xdd);
    b[j] = _mm512_maskz_shuffle_i32x4(0xffff, even_low, even_high, 0x88);
    b[8 + j] = _mm512_maskz_shuffle_i32x4(0xffff, even_low, even_high, 0xdd);
    b[4 + j] = _mm512_maskz_shuffle_i32x4(0xffff, odd_low, odd_high, 0x88);
    b[12 + j] = _mm512_maskz_shuffle_i32x4(0xffff, odd_low, odd_high, 0xdd);
  }
  CULL_UNROLL(16)
  for (int i = 0; i < 16; ++i) _mm512_storeu_si512(static_cast<char*>(to) + i * to_step, b[i]);
}

}  // namespace detail

CULL_NAMESPACE_END

#endif
