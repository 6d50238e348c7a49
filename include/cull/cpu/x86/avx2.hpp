// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cpu/x86/reduce.hpp>
#include <cull/cpu/x86/tables.hpp>
#include <cull/cpu/x86/targets.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// f32 products on AVX2 and FMA: the bits of `avx512_kernel`, whose lanes are two vectors here; tiles of 2 tokens by 3 rows.
struct avx2_kernel {
  using element = float;
  static constexpr int tokens = 2;
  static constexpr int rows = 3;
  static constexpr std::int64_t group = 32;
  static constexpr std::int64_t chunk = 1024;

  CULL_TARGET_AVX2 static void pack(float const* values, std::int64_t size, float* out) noexcept {
    for (std::int64_t k = 0; k < size; k += group) {
      for (std::int64_t half = 0; half < 2; ++half) {
        auto const a = _mm256_loadu_ps(values + k + 16 * half);
        auto const b = _mm256_loadu_ps(values + k + 16 * half + 8);
        store_ordered(out + k + 8 * half, _mm256_shuffle_ps(a, b, 0x88));
        store_ordered(out + k + 8 * half + 16, _mm256_shuffle_ps(a, b, 0xdd));
      }
    }
  }

  CULL_TARGET_AVX2 static void decode_nvfp4(std::uint8_t const* codes, std::uint8_t const* scales, std::int64_t size,
                                            std::int64_t ahead, float* out) noexcept {
    auto const magnitudes = _mm256_loadu_ps(e2m1_values.data());
    for (std::int64_t k = 0; k < size; k += 16) {
      _mm_prefetch(reinterpret_cast<char const*>(codes + k / 2 + ahead), _MM_HINT_T0);
      auto const scale = _mm256_set1_ps(e4m3_values[scales[k / 16]]);
      auto const bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<__m128i const*>(codes + k / 2)));
      auto* const to = out + k / group * group + k % group / 2;
      _mm256_storeu_ps(to, _mm256_mul_ps(value(bytes, magnitudes), scale));
      _mm256_storeu_ps(to + 16, _mm256_mul_ps(value(_mm256_srli_epi32(bytes, 4), magnitudes), scale));
    }
  }

  CULL_TARGET_AVX2 static void reorder(unsigned char const* values, std::int64_t size, float* out) noexcept {
    auto const upper = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
    for (std::int64_t k = 0; k < size; k += 16) {
      auto const words = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(values + 2 * k));
      auto* const to = out + k / group * group + k % group / 2;
      _mm256_storeu_ps(to, _mm256_castsi256_ps(_mm256_slli_epi32(words, 16)));
      _mm256_storeu_ps(to + 16, _mm256_castsi256_ps(_mm256_and_si256(words, upper)));
    }
  }

  CULL_TARGET_AVX2 static void multiply(float const* x, std::int64_t x_stride, float const* w, std::int64_t w_stride,
                                        std::int64_t size, float* sums, bool first) noexcept {
    __m256 lower[tokens * rows];
    __m256 upper[tokens * rows];
    CULL_UNROLL(6)
    for (int i = 0; i < tokens * rows; ++i) lower[i] = upper[i] = _mm256_setzero_ps();
    for (std::int64_t k = 0; k < size; k += 16) {
      add_products(x + k, x_stride, w + k, w_stride, lower);
      add_products(x + k + 8, x_stride, w + k + 8, w_stride, upper);
    }
    CULL_UNROLL(6)
    for (int i = 0; i < tokens * rows; ++i) {
      float const sum = lane_sum(lower[i], upper[i]);
      sums[i] = first ? sum : sums[i] + sum;
    }
  }

 private:
  /// One half of the lanes. Rows stay in registers: with the sums they fill all sixteen.
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) void add_products(float const* x, std::int64_t x_stride,
                                                                                  float const* w, std::int64_t w_stride,
                                                                                  __m256* sums) noexcept {
    auto row0 = _mm256_load_ps(w);
    auto row1 = _mm256_load_ps(w + w_stride);
    auto row2 = _mm256_load_ps(w + 2 * w_stride);
    // Otherwise g++ loads a row again in each product, and loads become the limit.
    asm("" : "+x"(row0), "+x"(row1), "+x"(row2));
    CULL_UNROLL(2)
    for (int t = 0; t < tokens; ++t) {
      auto const token = _mm256_load_ps(x + t * x_stride);
      sums[3 * t] = _mm256_fmadd_ps(token, row0, sums[3 * t]);
      sums[3 * t + 1] = _mm256_fmadd_ps(token, row1, sums[3 * t + 1]);
      sums[3 * t + 2] = _mm256_fmadd_ps(token, row2, sums[3 * t + 2]);
    }
  }
  /// Shuffles within 128 bits left the pairs of two loads apart.
  CULL_TARGET_AVX2 static void store_ordered(float* out, __m256 v) noexcept {
    _mm256_storeu_pd(reinterpret_cast<double*>(out), _mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8));
  }
  CULL_TARGET_AVX2 static __m256 value(__m256i codes, __m256 magnitudes) noexcept {
    auto const sign = _mm256_slli_epi32(_mm256_and_si256(codes, _mm256_set1_epi32(8)), 28);
    return _mm256_xor_ps(_mm256_permutevar8x32_ps(magnitudes, codes), _mm256_castsi256_ps(sign));
  }
};

}  // namespace detail

CULL_NAMESPACE_END

#endif
