// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cpu/packed_rows.hpp>
#include <cull/cpu/x86/ask_ahead.hpp>
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
  static constexpr std::int64_t few_tokens = 16;    // all of whose chunks stay in L2, so that rows are read from end to end
  static constexpr std::int64_t direct_tokens = 4;  // up to which rows are decoded in registers

  CULL_TARGET_AVX2 static void pack(float const* values, std::int64_t size, float* out) noexcept {
    for (std::int64_t k = 0; k < size; k += 16)
      store_ordered(out + k, _mm256_loadu_ps(values + k), _mm256_loadu_ps(values + k + 8));
  }

  CULL_TARGET_AVX2 static void decode_nvfp4(std::uint8_t const* codes, std::uint8_t const* scales, std::int64_t size,
                                            std::int64_t ahead, float* out) noexcept {
    for (std::int64_t k = 0; k < size; k += group) {
      if (k % 128 == 0) ask_ahead(k, codes + k / 2, scales + k / 16, ahead);
      auto const first = _mm256_set1_ps(e4m3_values[scales[k / 16]]);
      auto const second = _mm256_set1_ps(e4m3_values[scales[k / 16 + 1]]);
      __m256 values[4];
      unpack(codes + k / 2, values);
      _mm256_storeu_ps(out + k, _mm256_mul_ps(values[0], first));
      _mm256_storeu_ps(out + k + 8, _mm256_mul_ps(values[1], first));
      _mm256_storeu_ps(out + k + 16, _mm256_mul_ps(values[2], second));
      _mm256_storeu_ps(out + k + 24, _mm256_mul_ps(values[3], second));
    }
  }

  /// Of two blocks of 16 codes the lower and the upper lanes' values, block by block.
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) void unpack(std::uint8_t const* codes, __m256* values) noexcept {
    auto const spread = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15));
    auto const bytes = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<__m128i const*>(codes)));
    auto const turned = _mm256_srlv_epi32(_mm256_shuffle_epi8(bytes, spread), _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4));
    auto const nibbles = _mm256_and_si256(turned, _mm256_set1_epi8(15));
    auto const lower = _mm256_shuffle_epi8(_mm256_load_si256(reinterpret_cast<__m256i const*>(e2m1_bytes.lower)), nibbles);
    auto const upper = _mm256_shuffle_epi8(_mm256_load_si256(reinterpret_cast<__m256i const*>(e2m1_bytes.upper)), nibbles);
    auto const a = _mm256_unpacklo_epi8(lower, upper);
    auto const b = _mm256_unpackhi_epi8(lower, upper);
    auto const zero = _mm256_setzero_si256();
    values[0] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(zero, a));
    values[1] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(zero, a));
    values[2] = _mm256_castsi256_ps(_mm256_unpacklo_epi16(zero, b));
    values[3] = _mm256_castsi256_ps(_mm256_unpackhi_epi16(zero, b));
  }

  /// Products of one to four tokens with a strip's rows as they are stored, decoded in registers: what `multiply` makes of all
  /// chunks. `x_step`: elements from a token's chunk to its next.
  CULL_TARGET_AVX2 static void multiply_packed(float const* const* x, int count, std::int64_t x_step, packed_strip const& w,
                                               std::int64_t columns, float* sums) noexcept {
    switch (count) {
      case 1:
        return multiply_rows<3, 1>(x, x_step, w, columns, sums);
      case 2:
        multiply_rows<2, 2>(x, x_step, w, columns, sums);
        return multiply_rows<1, 2>(x, x_step, w.from_row(2), columns, sums + 2);
      case 3:
        for (int r = 0; r < rows; ++r) multiply_rows<1, 3>(x, x_step, w.from_row(r), columns, sums + r);
        return;
      default:
        for (int r = 0; r < rows; ++r) multiply_rows<1, 4>(x, x_step, w.from_row(r), columns, sums + r);
    }
  }

  CULL_TARGET_AVX2 static void reorder(unsigned char const* values, std::int64_t size, float* out) noexcept {
    for (std::int64_t k = 0; k < size; k += 16) {
      auto const* const words = reinterpret_cast<__m128i const*>(values + 2 * k);
      store_ordered(out + k, widened(_mm_loadu_si128(words)), widened(_mm_loadu_si128(words + 1)));
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
    static_assert(tokens == 2 && rows == 3);
    alignas(32) float finished[8];
    _mm256_store_ps(finished, lane_sums_6(lower, upper));
    CULL_UNROLL(6)
    for (int i = 0; i < tokens * rows; ++i) {
      float const sum = finished[i + i / rows];
      sums[i] = first ? sum : sums[i] + sum;
    }
  }

 private:
  template <int R, int T>
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) void multiply_rows(float const* const* x, std::int64_t x_step,
                                                                                   packed_strip const& w, std::int64_t columns,
                                                                                   float* sums) noexcept {
    for (std::int64_t first = 0, at = 0; first < columns; first += chunk, at += x_step) {
      __m256 lower[R * T];
      __m256 upper[R * T];
      CULL_UNROLL(4)
      for (int i = 0; i < R * T; ++i) lower[i] = upper[i] = _mm256_setzero_ps();
      auto const last = columns - first < chunk ? columns : first + chunk;
      for (std::int64_t k = first; k < last; k += group) {
        if (k % 128 == 0) ask_ahead<R>(w, k, w.codes + k / 2, w.scales + k / 16);
        CULL_UNROLL(3)
        for (int r = 0; r < R; ++r) {
          auto const first_scale = _mm256_set1_ps(e4m3_values[w.scales[r * w.scale_step + k / 16]]);
          auto const second_scale = _mm256_set1_ps(e4m3_values[w.scales[r * w.scale_step + k / 16 + 1]]);
          __m256 values[4];
          unpack(w.codes + r * w.code_step + k / 2, values);
          auto const low_first = _mm256_mul_ps(values[0], first_scale), high_first = _mm256_mul_ps(values[1], first_scale);
          auto const low_second = _mm256_mul_ps(values[2], second_scale), high_second = _mm256_mul_ps(values[3], second_scale);
          CULL_UNROLL(4)
          for (int t = 0; t < T; ++t) {
            auto& low = lower[t * R + r];
            auto& high = upper[t * R + r];
            auto const* const token = x[t] + at + (k - first);
            low = _mm256_fmadd_ps(_mm256_load_ps(token), low_first, low);
            high = _mm256_fmadd_ps(_mm256_load_ps(token + 8), high_first, high);
            low = _mm256_fmadd_ps(_mm256_load_ps(token + 16), low_second, low);
            high = _mm256_fmadd_ps(_mm256_load_ps(token + 24), high_second, high);
          }
        }
      }
      for (int t = 0; t < T; ++t) {
        for (int r = 0; r < R; ++r) {
          float const sum = lane_sum(lower[t * R + r], upper[t * R + r]);
          float& to = sums[t * rows + r];
          to = first == 0 ? sum : to + sum;
        }
      }
    }
  }
  /// One half of the lanes. Rows stay in registers: with the sums they fill all sixteen.
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) void add_products(float const* x, std::int64_t x_stride,
                                                                                  float const* w, std::int64_t w_stride,
                                                                                  __m256* sums) noexcept {
    auto row0 = _mm256_load_ps(w);
    auto row1 = _mm256_load_ps(w + w_stride);
    auto row2 = _mm256_load_ps(w + 2 * w_stride);
    // Otherwise g++ loads a row again in each product, and loads become the limit.
    CULL_IN_REGISTERS(row0, row1, row2);
    CULL_UNROLL(2)
    for (int t = 0; t < tokens; ++t) {
      auto const token = _mm256_load_ps(x + t * x_stride);
      sums[3 * t] = _mm256_fmadd_ps(token, row0, sums[3 * t]);
      sums[3 * t + 1] = _mm256_fmadd_ps(token, row1, sums[3 * t + 1]);
      sums[3 * t + 2] = _mm256_fmadd_ps(token, row2, sums[3 * t + 2]);
    }
  }
  CULL_TARGET_AVX2 static __m256 widened(__m128i words) noexcept {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(words), 16));
  }
  /// Columns 0 to 7 and 8 to 15 in the order of `avx512_kernel`.
  CULL_TARGET_AVX2 static void store_ordered(float* out, __m256 a, __m256 b) noexcept {
    auto const first = _mm256_castps_pd(_mm256_unpacklo_ps(a, b)), second = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
    auto const even = _mm256_castpd_ps(_mm256_unpacklo_pd(first, second)),
               odd = _mm256_castpd_ps(_mm256_unpackhi_pd(first, second));
    _mm256_storeu_ps(out, _mm256_permute2f128_ps(even, odd, 0x20));
    _mm256_storeu_ps(out + 8, _mm256_permute2f128_ps(even, odd, 0x31));
  }
};

}  // namespace detail

CULL_NAMESPACE_END

#endif
