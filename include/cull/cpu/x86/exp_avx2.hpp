// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cpu/x86/targets.hpp>
#include <cull/expert/activation.hpp>
#include <cull/numeric/exp.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// The integer arithmetic of `exp_f32` on four values, as their bits in 64-bit lanes; results below the smallest normal number
/// are 0.
CULL_TARGET_AVX2 inline __m256i exp_bits(__m256i word) noexcept {
  auto const magnitude = _mm256_and_si256(word, _mm256_set1_epi64x(0x7fffffff));
  auto const mantissa = _mm256_or_si256(_mm256_and_si256(magnitude, _mm256_set1_epi64x(0x7fffff)), _mm256_set1_epi64x(0x800000));
  // mantissa * 0xb8aa3b295c, whose upper eight and lower 32 bits are multiplied apart.
  auto const upper = _mm256_mul_epu32(mantissa, _mm256_set1_epi64x(0xb8));
  auto const lower = _mm256_mul_epu32(mantissa, _mm256_set1_epi64x(0xaa3b295c));
  auto const product = _mm256_add_epi64(_mm256_slli_epi64(upper, 32), lower);
  auto const scaled = _mm256_srlv_epi64(product, _mm256_sub_epi64(_mm256_set1_epi64x(157), _mm256_srli_epi64(magnitude, 23)));
  auto const minus = _mm256_shuffle_epi32(_mm256_srai_epi32(word, 31), 0xa0);
  auto const t = _mm256_sub_epi64(_mm256_xor_si256(scaled, minus), minus);
  auto const exponent = _mm256_shuffle_epi32(t, 0xf5);
  constexpr long long coefficients[] = {0x1e,      0x1b5,     0x162c,     0xffe6,     0xa1849,    0x576200,
                                        0x276556e, 0xe35846c, 0x3d7f7bff, 0xb17217f8, 0x100000000};
  auto sum = _mm256_set1_epi64x(0x2);
  CULL_UNROLL(11)
  for (auto const coefficient : coefficients) {
    sum = _mm256_add_epi64(_mm256_srli_epi64(_mm256_mul_epu32(sum, t), 32), _mm256_set1_epi64x(coefficient));
  }
  // sum / 512 to the nearest, ties to even.
  auto const odd = _mm256_and_si256(_mm256_srli_epi64(sum, 9), _mm256_set1_epi64x(1));
  auto const rounded = _mm256_srli_epi64(_mm256_add_epi64(_mm256_add_epi64(sum, _mm256_set1_epi64x(255)), odd), 9);
  auto const bits = _mm256_add_epi32(_mm256_slli_epi32(_mm256_add_epi32(exponent, _mm256_set1_epi32(126)), 23), rounded);
  auto const small = _mm256_cmpgt_epi32(_mm256_set1_epi32(-126), exponent);
  auto const large = _mm256_cmpgt_epi32(exponent, _mm256_set1_epi32(127));
  auto const bounded = _mm256_blendv_epi8(_mm256_andnot_si256(small, bits), _mm256_set1_epi32(0x7f800000), large);
  return _mm256_and_si256(bounded, _mm256_set1_epi64x(0xffffffff));
}

/// `exp_f32` where the result is no subnormal number, which becomes 0.
CULL_TARGET_AVX2 inline __m256 exp_normal(__m256 x) noexcept {
  auto const words = _mm256_castps_si256(x);
  auto const even = exp_bits(_mm256_and_si256(words, _mm256_set1_epi64x(0xffffffff)));
  auto const odd = exp_bits(_mm256_srli_epi64(words, 32));
  auto const joined = _mm256_or_si256(even, _mm256_slli_epi64(odd, 32));
  // Beyond 104 the product does not fit; NaN stays NaN.
  auto const size = _mm256_and_si256(words, _mm256_set1_epi32(0x7fffffff));
  auto const far = _mm256_cmpgt_epi32(size, _mm256_set1_epi32(0x42d00000));
  auto const nan = _mm256_cmpgt_epi32(size, _mm256_set1_epi32(0x7f800000));
  auto const limit = _mm256_andnot_si256(_mm256_srai_epi32(words, 31), _mm256_set1_epi32(0x7f800000));
  auto const bounded = _mm256_blendv_epi8(joined, limit, far);
  return _mm256_castsi256_ps(_mm256_blendv_epi8(bounded, words, nan));
}

/// 1 + e^-x.
CULL_TARGET_AVX2 inline __m256 one_plus_exp_minus(__m256 x) noexcept {
  return _mm256_add_ps(_mm256_set1_ps(1.0f), exp_normal(_mm256_xor_ps(x, _mm256_set1_ps(-0.0f))));
}

/// `inner[i] = silu(gate[i]) * inner[i]`, the bits of `silu`.
CULL_TARGET_AVX2 inline void multiply_by_silu_avx2(float const* gated, float* inner, std::int64_t size) noexcept {
  std::int64_t i = 0;
  for (; i + 8 <= size; i += 8) {
    auto const x = _mm256_loadu_ps(gated + i);
    auto const value = _mm256_div_ps(x, one_plus_exp_minus(x));
    _mm256_storeu_ps(inner + i, _mm256_mul_ps(value, _mm256_loadu_ps(inner + i)));
  }
  for (; i < size; ++i) inner[i] = silu{}(gated[i], inner[i]);
}

/// In place, the bits of `sigmoid_f32`.
CULL_TARGET_AVX2 inline void sigmoid_avx2(float* x, std::int64_t size) noexcept {
  std::int64_t i = 0;
  for (; i + 8 <= size; i += 8) {
    _mm256_storeu_ps(x + i, _mm256_div_ps(_mm256_set1_ps(1.0f), one_plus_exp_minus(_mm256_loadu_ps(x + i))));
  }
  for (; i < size; ++i) x[i] = sigmoid_f32(x[i]);
}

/// x = e^(x - top) in place, the bits of `exp_f32`.
CULL_TARGET_AVX2 inline void exp_below_avx2(float* x, std::int64_t size, float top) noexcept {
  auto const most = _mm256_set1_ps(top);
  std::int64_t i = 0;
  for (; i + 8 <= size; i += 8) {
    auto const difference = _mm256_sub_ps(_mm256_loadu_ps(x + i), most);
    bool const normal = _mm256_movemask_ps(_mm256_cmp_ps(difference, _mm256_set1_ps(-87.0f), _CMP_GT_OQ)) == 0xff;
    if (normal) {
      _mm256_storeu_ps(x + i, exp_normal(difference));
    } else {
      for (int j = 0; j < 8; ++j) x[i + j] = exp_f32(x[i + j] - top);
    }
  }
  for (; i < size; ++i) x[i] = exp_f32(x[i] - top);
}

}  // namespace detail

CULL_NAMESPACE_END

#endif
