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
    auto at = w;
    for (std::int64_t u = 0; u < whole; ++u, at.codes += 128, at.scales += 16) {
      ask_for_next(at, u);
      add_unit(x[u], at, a);
    }
    if (whole * unit::columns < columns) {
      strip_tail<rows> const tail{w, whole * unit::columns, columns};
      add_unit(x[whole], tail.strip(), a);
    }
    _mm512_mask_storeu_ps(sums, (1u << rows) - 1, lane_sums_8(a));
    for (int r = 0; r < rows; ++r) {
      auto const* const scales = w.scales + r * w.scale_step;
      if (!plain(scales, columns / 16)) sums[r] = fixed_point_product(x, w.codes + r * w.code_step, scales, columns);
    }
  }

 private:
  static_assert(rows == 4);  // two pointers and a step reach each, so that none has to be fetched from the stack

  CULL_TARGET_AVX512_VNNI static inline __attribute__((always_inline)) void ask_for_next(packed_strip const& at,
                                                                                         std::int64_t u) noexcept {
    auto const *codes = at.codes + at.ahead, *more_codes = codes + 2 * at.code_step;
    ask_for_rows<2>(codes, at.code_step);
    ask_for_rows<2>(codes + 64, at.code_step);
    ask_for_rows<2>(more_codes, at.code_step);
    ask_for_rows<2>(more_codes + 64, at.code_step);
    if (u % 4 == 0) ask_for_rows<rows>(at.scales + at.ahead / 8, at.scale_step);
  }

  CULL_TARGET_AVX512_VNNI static inline __attribute__((always_inline)) void add_unit(unit const& x, packed_strip const& w,
                                                                                     __m512* a) noexcept {
    __m512i digit[Digits][4];
    CULL_UNROLL(3)
    for (int d = 0; d < Digits; ++d) {
      CULL_UNROLL(4)
      for (int i = 0; i < 4; ++i) {
        digit[d][i] = _mm512_load_si512(x.digits[d][i]);
        CULL_IN_REGISTER(digit[d][i]);
      }
    }
    auto const corrections = _mm512_load_si512(x.corrections);
    auto const units = _mm512_load_ps(x.units);
    auto const *more_codes = w.codes + 2 * w.code_step, *more_scales = w.scales + 2 * w.scale_step;
    CULL_UNROLL(4)
    for (int r = 0; r < rows; ++r) {
      __m512i code[4];
      split((r < 2 ? w.codes : more_codes) + r % 2 * w.code_step, code);
      // Digits apart: one chain through all would fill the scheduler with what waits.
      __m512i sum[Digits];
      CULL_UNROLL(3)
      for (int d = 0; d < Digits; ++d) {
        sum[d] = d == 0 ? corrections : _mm512_setzero_si512();
        CULL_UNROLL(4)
        for (int i = 0; i < 4; ++i) sum[d] = _mm512_dpbusd_epi32(sum[d], code[i], digit[d][i]);
      }
      CULL_UNROLL(3)
      for (int d = Digits - 1; d > 0; --d) sum[d - 1] = _mm512_add_epi32(sum[d - 1], _mm512_maskz_slli_epi32(0xffff, sum[d], 8));
      auto const value = _mm512_maskz_cvtepi32_ps(0xffff, sum[0]);
      auto const factor = scales((r < 2 ? w.scales : more_scales) + r % 2 * w.scale_step);
      a[r] = _mm512_fmadd_ps(value, _mm512_mul_ps(factor, units), a[r]);
    }
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
  /// Sixteen scales times 2^-8 in the order of lanes.
  CULL_TARGET_AVX512_VNNI static inline __attribute__((always_inline)) __m512 scales(std::uint8_t const* from) noexcept {
    auto const bytes = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<__m128i const*>(from)));
    auto const order = _mm256_load_si256(reinterpret_cast<__m256i const*>(scale_order.values));
    return _mm512_maskz_cvtph_ps(0xffff, _mm256_srli_epi16(_mm256_shuffle_epi8(bytes, order), 1));
  }
  /// Whether scales are what `scales` can read: neither negative nor NaN.
  CULL_TARGET_AVX512_VNNI static inline __attribute__((always_inline)) bool plain(std::uint8_t const* scales,
                                                                                  std::int64_t count) noexcept {
    auto seen = _mm512_setzero_si512();
    for (std::int64_t b = 0; b < count; b += 64) {
      auto const mask = ~__mmask64{0} >> (count - b < 64 ? 64 - (count - b) : 0);
      auto const bytes = _mm512_maskz_loadu_epi8(mask, scales + b);
      seen = _mm512_or_si512(seen, _mm512_or_si512(bytes, _mm512_add_epi8(bytes, _mm512_set1_epi8(1))));
    }
    return _mm512_movepi8_mask(seen) == 0;
  }
};

}  // namespace detail

CULL_NAMESPACE_END

#endif
