// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cpu/packed_rows.hpp>
#include <cull/cpu/x86/ask_ahead.hpp>
#include <cull/cpu/x86/fixed_point.hpp>
#include <cull/cpu/x86/fixed_point_tables.hpp>
#include <cull/cpu/x86/reduce.hpp>
#include <cull/cpu/x86/targets.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// The bits of `fixed_point_avx512`, whose lanes are two vectors here. Sums of four byte products fit 16 bits.
template <int Digits>
struct fixed_point_avx2 {
  using element = std::int8_t;
  using unit = fixed_point_unit<Digits>;
  static constexpr int digits = Digits;
  static constexpr int tokens = 1;
  static constexpr int rows = 2;
  static constexpr std::int64_t group = 16;

  /// `sums[r]` = the product of the token and row r.
  CULL_TARGET_AVX2 static void multiply(unit const* x, packed_strip const& w, std::int64_t columns, float* sums) noexcept {
    __m256 a[rows][2];
    CULL_UNROLL(2)
    for (int r = 0; r < rows; ++r) a[r][0] = a[r][1] = _mm256_setzero_ps();
    auto const whole = columns / unit::columns;
    auto seen = _mm_setzero_si128();
    auto at = w;
    for (std::int64_t u = 0; u < whole; ++u, at.codes += 128, at.scales += 16) {
      if (u % 4 < rows) ask_for(at.scales + u % 4 * at.scale_step + at.ahead / 8);
      add_unit<true>(x[u], at, a, seen);
    }
    for (auto r = whole; r < rows; ++r) ask_for(w.scales + r * w.scale_step + w.ahead / 8);
    if (whole * unit::columns < columns) {
      strip_tail<rows> const tail{w, whole * unit::columns, columns};
      add_unit<false>(x[whole], tail.strip(), a, seen);
    }
    for (int r = 0; r < rows; ++r) {
      sums[r] = plain(seen) ? lane_sum(a[r][0], a[r][1])
                            : fixed_point_product(x, w.codes + r * w.code_step, w.scales + r * w.scale_step, columns);
    }
  }

 private:
  /// As `fixed_point_avx512::add_unit`.
  template <bool Ask>
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) void add_unit(unit const& x, packed_strip const& w,
                                                                              __m256 (*a)[2], __m128i& seen) noexcept {
    CULL_UNROLL(2)
    for (int half = 0; half < 2; ++half) {
      auto const corrections = _mm256_load_si256(reinterpret_cast<__m256i const*>(x.corrections + 8 * half));
      auto const units = _mm256_load_ps(x.units + 8 * half);
      CULL_UNROLL(2)
      for (int r = 0; r < rows; ++r) {
        auto const* const codes = w.codes + r * w.code_step;
        if constexpr (Ask) ask_for(codes + 64 * half + w.ahead);
        auto const bytes = _mm_loadu_si128(reinterpret_cast<__m128i const*>(w.scales + r * w.scale_step));
        if (half == 0) seen = _mm_max_epu8(seen, bytes);
        __m256i code[4];
        split(codes + 32 * half, code);
        auto const sum = _mm256_add_epi32(products(x, code, half), corrections);
        a[r][half] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_mul_ps(factors(bytes, half), units), a[r][half]);
      }
    }
  }

  /// Sums over blocks of codes, biased, times values.
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) __m256i products(unit const& x, __m256i const* code,
                                                                                 int half) noexcept {
    auto const ones = _mm256_set1_epi16(1), next = _mm256_set1_epi16(256);
    auto const low = _mm256_madd_epi16(digit_products(x, code, 0, half), ones);
    auto const middle = _mm256_madd_epi16(digit_products(x, code, 1, half), next);
    if constexpr (Digits == 2) return _mm256_add_epi32(low, middle);
    auto const high = _mm256_slli_epi32(_mm256_madd_epi16(digit_products(x, code, Digits - 1, half), next), 8);
    return _mm256_add_epi32(_mm256_add_epi32(low, middle), high);
  }
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) __m256i digit_products(unit const& x, __m256i const* code, int d,
                                                                                       int half) noexcept {
    auto const first = _mm256_add_epi16(times(x, code, d, 0, half), times(x, code, d, 1, half));
    return _mm256_add_epi16(first, _mm256_add_epi16(times(x, code, d, 2, half), times(x, code, d, 3, half)));
  }
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) __m256i times(unit const& x, __m256i const* code, int d, int i,
                                                                              int half) noexcept {
    return _mm256_maddubs_epi16(code[i], _mm256_load_si256(reinterpret_cast<__m256i const*>(x.digits[d][i] + 32 * half)));
  }

  /// As `fixed_point_avx512::split`, of the blocks of one half of the lanes.
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) void split(std::uint8_t const* codes, __m256i* out) noexcept {
    auto const first = _mm256_loadu_ps(reinterpret_cast<float const*>(codes));
    auto const second = _mm256_loadu_ps(reinterpret_cast<float const*>(codes + 64));
    auto const low = _mm256_castps_si256(_mm256_shuffle_ps(first, second, 0x88));
    auto const high = _mm256_castps_si256(_mm256_shuffle_ps(first, second, 0xdd));
    out[0] = look_up(low);
    out[1] = look_up(_mm256_srli_epi16(low, 4));
    out[2] = look_up(high);
    out[3] = look_up(_mm256_srli_epi16(high, 4));
  }
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) __m256i look_up(__m256i bytes) noexcept {
    auto const table = _mm256_load_si256(reinterpret_cast<__m256i const*>(biased_codes.values));
    return _mm256_shuffle_epi8(table, _mm256_and_si256(bytes, _mm256_set1_epi8(15)));
  }
  /// The scales of one half of the lanes times 2^-8.
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) __m256 factors(__m128i bytes, int half) noexcept {
    auto const order = _mm_load_si128(reinterpret_cast<__m128i const*>(scale_order.values) + half);
    return _mm256_cvtph_ps(_mm_srli_epi16(_mm_shuffle_epi8(bytes, order), 1));
  }
  /// As `fixed_point_avx512::plain`.
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) bool plain(__m128i seen) noexcept {
    return _mm_movemask_epi8(_mm_or_si128(seen, _mm_add_epi8(seen, _mm_set1_epi8(1)))) == 0;
  }
};

}  // namespace detail

CULL_NAMESPACE_END

#endif
