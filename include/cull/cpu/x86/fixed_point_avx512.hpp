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

/// One token at a time by byte products, in the order of `fixed_point_product`: codes shifted by the bias are looked up as they
/// lie, an index's upper bits do not count.
template <int Digits>
struct fixed_point_avx512 {
  using element = std::int8_t;
  using unit = fixed_point_unit<Digits>;
  static constexpr int digits = Digits;
  static constexpr int tokens = 1;
  static constexpr int rows = 4;
  static constexpr std::int64_t group = 16;

  /// `sums[r]` = the product of the token and row r.
  CULL_TARGET_AVX512_VNNI static void multiply(unit const* x, packed_strip const& w, std::int64_t columns, float* sums) noexcept {
    __m512 a[8];
    CULL_UNROLL(8)
    for (int r = 0; r < 8; ++r) a[r] = _mm512_setzero_ps();
    auto const whole = columns / unit::columns;
    auto seen = _mm256_setzero_si256();
    auto at = w;
    for (std::int64_t u = 0; u < whole; ++u, at.codes += 128, at.scales += 16) {
      ask_for(at.scales + u % rows * at.scale_step + at.ahead / 8);  // a row's turn comes every four units, which are a line
      add_unit<true>(x[u], at, a, seen);
    }
    for (auto r = whole; r < rows; ++r) ask_for(w.scales + r * w.scale_step + w.ahead / 8);
    if (whole * unit::columns < columns) {
      strip_tail<rows> const tail{w, whole * unit::columns, columns};
      add_unit<false>(x[whole], tail.strip(), a, seen);
    }
    _mm512_mask_storeu_ps(sums, (1u << rows) - 1, lane_sums_8(a));
    if (plain(seen)) return;  // otherwise, rare as it is, all of them by the same sums written down
    for (int r = 0; r < rows; ++r)
      sums[r] = fixed_point_product(x, w.codes + r * w.code_step, w.scales + r * w.scale_step, columns);
  }

 private:
  static_assert(rows == 4);  // two pointers and a step reach each, so that none has to be fetched from the stack

  /// Rows one by one, each with what it asks for: where many lines are asked for at once, some are not brought.
  template <bool Ask>
  CULL_TARGET_AVX512_VNNI static inline __attribute__((always_inline)) void add_unit(unit const& x, packed_strip const& w,
                                                                                     __m512* a, __m256i& seen) noexcept {
    auto const units = _mm512_load_ps(x.units);
    auto const *more_codes = w.codes + 2 * w.code_step, *more_scales = w.scales + 2 * w.scale_step;
    CULL_UNROLL(4)
    for (int r = 0; r < rows; ++r) {
      auto const* const codes = (r < 2 ? w.codes : more_codes) + r % 2 * w.code_step;
      auto const* const scales = (r < 2 ? w.scales : more_scales) + r % 2 * w.scale_step;
      if constexpr (Ask) {
        ask_for(codes + w.ahead);
        ask_for(codes + w.ahead + 64);
      }
      auto const bytes = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<__m128i const*>(scales)));
      seen = _mm256_max_epu8(seen, bytes);
      auto const value = _mm512_maskz_cvtepi32_ps(0xffff, products(x, codes));
      a[r] = _mm512_fmadd_ps(value, _mm512_mul_ps(factors(bytes), units), a[r]);
    }
  }

  /// Sums over blocks of codes, biased, times values. One chain of products through all digits would fill the scheduler with what
  /// waits, and so would digit after digit: each code meets all of them when it is there.
  CULL_TARGET_AVX512_VNNI static inline __attribute__((always_inline)) __m512i products(unit const& x,
                                                                                        std::uint8_t const* codes) noexcept {
    __m512i code[4], sum[Digits];
    split(codes, code);
    CULL_UNROLL(3)
    for (int d = 0; d < Digits; ++d) sum[d] = d == 0 ? _mm512_load_si512(x.corrections) : _mm512_setzero_si512();
    CULL_UNROLL(4)
    for (int i = 0; i < 4; ++i) {
      CULL_UNROLL(3)
      for (int d = Digits - 1; d >= 0; --d) sum[d] = _mm512_dpbusd_epi32(sum[d], code[i], _mm512_load_si512(x.digits[d][i]));
    }
    CULL_UNROLL(3)
    for (int d = Digits - 1; d > 0; --d) sum[d - 1] = _mm512_add_epi32(sum[d - 1], _mm512_maskz_slli_epi32(0xffff, sum[d], 8));
    return sum[0];
  }

  /// Codes plus the bias of columns 0, 2, .. 6 of every block's lane, then 1, .. 7, 8, .. 14, and 9, .. 15.
  CULL_TARGET_AVX512_VNNI static inline __attribute__((always_inline)) void split(std::uint8_t const* codes,
                                                                                  __m512i* out) noexcept {
    auto const table = _mm512_load_si512(biased_codes.values);
    auto const first = _mm512_loadu_ps(codes), second = _mm512_loadu_ps(codes + 64);
    auto const low = _mm512_castps_si512(_mm512_maskz_shuffle_ps(0xffff, first, second, 0x88));
    auto const high = _mm512_castps_si512(_mm512_maskz_shuffle_ps(0xffff, first, second, 0xdd));
    out[0] = look_up(low, table);
    out[1] = look_up(_mm512_maskz_srli_epi16(0xffffffff, low, 4), table);
    out[2] = look_up(high, table);
    out[3] = look_up(_mm512_maskz_srli_epi16(0xffffffff, high, 4), table);
  }
  CULL_TARGET_AVX512_VNNI static inline __attribute__((always_inline)) __m512i look_up(__m512i index, __m512i table) noexcept {
    return _mm512_maskz_permutexvar_epi8(~__mmask64{0}, index, table);
  }
  /// Sixteen scales, twice in `bytes`, times 2^-8 in the order of lanes.
  CULL_TARGET_AVX512_VNNI static inline __attribute__((always_inline)) __m512 factors(__m256i bytes) noexcept {
    auto const order = _mm256_load_si256(reinterpret_cast<__m256i const*>(scale_order.values));
    return _mm512_maskz_cvtph_ps(0xffff, _mm256_srli_epi16(_mm256_shuffle_epi8(bytes, order), 1));
  }
  /// Whether scales, the largest of which `seen` holds, are what `factors` can read: neither negative nor NaN.
  CULL_TARGET_AVX512_VNNI static inline __attribute__((always_inline)) bool plain(__m256i seen) noexcept {
    return _mm256_movemask_epi8(_mm256_or_si256(seen, _mm256_add_epi8(seen, _mm256_set1_epi8(1)))) == 0;
  }
};

}  // namespace detail

CULL_NAMESPACE_END

#endif
