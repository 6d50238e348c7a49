// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cpu/x86/targets.hpp>
#include <cull/expert/activation.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// The integer arithmetic of `exp_f32` on eight values, as their bits in 64-bit lanes; below the smallest normal number 0, which
/// is as good in 1 + e^x.
CULL_TARGET_AVX512 inline __m512i exp_bits(__m512i word) noexcept {
  auto const magnitude = _mm512_and_si512(word, _mm512_set1_epi64(0x7fffffff));
  auto const mantissa = _mm512_or_si512(_mm512_and_si512(magnitude, _mm512_set1_epi64(0x7fffff)), _mm512_set1_epi64(0x800000));
  // mantissa * 0xb8aa3b295c, whose upper eight and lower 32 bits are multiplied apart.
  auto const upper = _mm512_maskz_mul_epu32(0xff, mantissa, _mm512_set1_epi64(0xb8));
  auto const lower = _mm512_maskz_mul_epu32(0xff, mantissa, _mm512_set1_epi64(0xaa3b295c));
  auto const product = _mm512_add_epi64(_mm512_maskz_slli_epi64(0xff, upper, 32), lower);
  auto const shift = _mm512_sub_epi64(_mm512_set1_epi64(157), _mm512_maskz_srli_epi64(0xff, magnitude, 23));
  auto const scaled = _mm512_maskz_srlv_epi64(0xff, product, shift);
  auto const negative = _mm512_test_epi64_mask(word, _mm512_set1_epi64(0x80000000));
  auto const t = _mm512_mask_sub_epi64(scaled, negative, _mm512_setzero_si512(), scaled);
  auto const exponent = _mm512_maskz_srai_epi64(0xff, t, 32);
  constexpr long long coefficients[] = {0x1e,      0x1b5,     0x162c,     0xffe6,     0xa1849,    0x576200,
                                        0x276556e, 0xe35846c, 0x3d7f7bff, 0xb17217f8, 0x100000000};
  auto sum = _mm512_set1_epi64(0x2);
  CULL_UNROLL(11)
  for (auto const coefficient : coefficients) {
    sum =
        _mm512_add_epi64(_mm512_maskz_srli_epi64(0xff, _mm512_maskz_mul_epu32(0xff, sum, t), 32), _mm512_set1_epi64(coefficient));
  }
  // sum / 512 to the nearest, ties to even.
  auto const odd = _mm512_and_si512(_mm512_maskz_srli_epi64(0xff, sum, 9), _mm512_set1_epi64(1));
  auto const rounded = _mm512_maskz_srli_epi64(0xff, _mm512_add_epi64(_mm512_add_epi64(sum, _mm512_set1_epi64(255)), odd), 9);
  auto const bits =
      _mm512_add_epi64(_mm512_maskz_slli_epi64(0xff, _mm512_add_epi64(exponent, _mm512_set1_epi64(126)), 23), rounded);
  auto const small = _mm512_cmplt_epi64_mask(exponent, _mm512_set1_epi64(-126));
  auto const large = _mm512_cmpgt_epi64_mask(exponent, _mm512_set1_epi64(127));
  auto const finite = _mm512_mask_mov_epi64(bits, small, _mm512_setzero_si512());
  return _mm512_mask_mov_epi64(finite, large, _mm512_set1_epi64(0x7f800000));
}

/// e^x for 1 + e^x, see `exp_bits`.
CULL_TARGET_AVX512 inline __m512 exp_for_sum(__m512 x) noexcept {
  auto const words = _mm512_castps_si512(x);
  auto const even = _mm512_and_si512(words, _mm512_set1_epi64(0xffffffff));
  auto const odd = _mm512_maskz_srli_epi64(0xff, words, 32);
  auto const joined = _mm512_or_si512(exp_bits(even), _mm512_maskz_slli_epi64(0xff, exp_bits(odd), 32));
  // Beyond 104 the product does not fit; NaN stays NaN.
  auto const size = _mm512_and_si512(words, _mm512_set1_epi32(0x7fffffff));
  auto const far = _mm512_cmpgt_epi32_mask(size, _mm512_set1_epi32(0x42d00000));
  auto const nan = _mm512_cmpgt_epi32_mask(size, _mm512_set1_epi32(0x7f800000));
  auto const negative = _mm512_movepi32_mask(words);
  auto const limit = _mm512_maskz_mov_epi32(static_cast<__mmask16>(~negative), _mm512_set1_epi32(0x7f800000));
  auto const bounded = _mm512_mask_mov_epi32(joined, far, limit);
  return _mm512_castsi512_ps(_mm512_mask_mov_epi32(bounded, nan, words));
}

/// `inner[i] = silu(gate[i]) * inner[i]`, the bits of `silu`.
CULL_TARGET_AVX512 inline void multiply_by_silu_avx512(float const* gated, float* inner, std::int64_t size) noexcept {
  auto const one = _mm512_set1_ps(1.0f);
  auto const sign = _mm512_set1_epi32(static_cast<int>(0x80000000u));
  std::int64_t i = 0;
  for (; i + 16 <= size; i += 16) {
    auto const x = _mm512_loadu_ps(gated + i);
    auto const minus = _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(x), sign));
    auto const value = _mm512_div_ps(x, _mm512_add_ps(one, exp_for_sum(minus)));
    _mm512_storeu_ps(inner + i, _mm512_mul_ps(value, _mm512_loadu_ps(inner + i)));
  }
  for (; i < size; ++i) inner[i] = silu{}(gated[i], inner[i]);
}

}  // namespace detail

CULL_NAMESPACE_END

#endif
