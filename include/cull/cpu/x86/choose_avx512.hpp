// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include <cull/config.hpp>
#include <cull/cpu/x86/choose_avx2.hpp>
#include <cull/cpu/x86/targets.hpp>
#include <cull/router/stage.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// `choose_avx2` without branches that scores decide: what reaches the bound is compressed into a list, and of that each
/// candidate's rank is counted.
struct choose_avx512 {
  /// As `choose_avx2::run`; false also for more than 16 candidates at the bound.
  CULL_TARGET_AVX512 static bool run(row_ref row, int k) noexcept {
    auto const experts = row.experts();
    if (k > choose_avx2::most || experts < lanes || experts > most_experts) return false;
    alignas(64) float scores[most_experts];
    float const bound = lane_bound(row, k, scores);
    if (!(bound > -__builtin_inff())) return false;
    alignas(64) float kept[2 * lanes];
    alignas(64) std::int32_t ids[2 * lanes];
    int const count = list(scores, experts, bound, ids, kept);
    if (count > lanes || count < k) return false;
    auto const all = static_cast<__mmask16>((1u << count) - 1);
    auto const best = static_cast<__mmask16>(all & below(ranks(_mm512_load_ps(kept), count), k));
    auto const chosen = _mm512_maskz_compress_epi32(best, _mm512_load_si512(ids));
    alignas(64) std::int32_t out[lanes];
    _mm512_store_si512(out, chosen);
    std::copy_n(out, k, row.ids.data());
    return true;
  }

 private:
  static constexpr std::int64_t most_experts = 1024;
  static constexpr int lanes = 16;

  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) unsigned below(__m512i ranks, int k) noexcept {
    return _mm512_cmpgt_epi32_mask(_mm512_set1_epi32(k), ranks);
  }

  /// Copies the scores, those of no candidate as -infinity; returns the k-th largest maximum of the lanes, NaN where a score is.
  CULL_TARGET_AVX512 static float lane_bound(row_ref row, int k, float* scores) noexcept {
    auto const lowest = _mm512_set1_ps(-__builtin_inff());
    auto best = lowest;
    unsigned numbers = 0xffff;
    for (std::int64_t e = 0; e < row.experts(); e += lanes) {
      auto const left = row.experts() - e;
      auto const in_row = static_cast<__mmask16>(left < lanes ? (1u << left) - 1 : 0xffff);
      std::uint8_t last[lanes] = {};
      if (left < lanes) std::copy_n(row.candidate.data() + e, left, last);
      auto const* const candidates = reinterpret_cast<__m128i const*>(left < lanes ? last : row.candidate.data() + e);
      auto const flags = _mm512_maskz_cvtepu8_epi32(0xffff, _mm_loadu_si128(candidates));
      auto const present = _mm512_test_epi32_mask(flags, flags);
      auto const value = _mm512_mask_mov_ps(lowest, present, _mm512_maskz_loadu_ps(in_row, row.choice.data() + e));
      numbers &= _mm512_cmp_ps_mask(value, value, _CMP_EQ_OQ);
      best = _mm512_maskz_max_ps(0xffff, best, value);
      _mm512_store_ps(scores + e, value);
    }
    if (numbers != 0xffff) return __builtin_nanf("");
    // The least of those that fewer than k exceed.
    auto const few = static_cast<__mmask16>(below(exceeding(best), k));
    alignas(64) float maxima[lanes];
    _mm512_store_ps(maxima, _mm512_mask_mov_ps(_mm512_set1_ps(__builtin_inff()), few, best));
    float out = maxima[0];
    CULL_UNROLL(16)
    for (int i = 1; i < lanes; ++i) out = maxima[i] < out ? maxima[i] : out;
    return out;
  }
  /// How many of the lanes are larger than each.
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m512i exceeding(__m512 v) noexcept {
    alignas(64) float each[lanes];
    _mm512_store_ps(each, v);
    auto count = _mm512_setzero_si512();
    CULL_UNROLL(16)
    for (float const one : each)
      count = _mm512_mask_add_epi32(count, _mm512_cmp_ps_mask(_mm512_set1_ps(one), v, _CMP_GT_OQ), count, _mm512_set1_epi32(1));
    return count;
  }

  /// How many of the first `count` come before each: larger ones, and equal ones of a lower place.
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m512i ranks(__m512 v, int count) noexcept {
    alignas(64) float each[lanes];
    _mm512_store_ps(each, v);
    auto rank = _mm512_setzero_si512();
    for (int i = 0; i < count; ++i) {
      auto const one = _mm512_set1_ps(each[i]);
      unsigned const behind = 0xfffeu << i;
      unsigned const larger = _mm512_cmp_ps_mask(one, v, _CMP_GT_OQ), equal = _mm512_cmp_ps_mask(one, v, _CMP_EQ_OQ);
      rank = _mm512_mask_add_epi32(rank, static_cast<__mmask16>(larger | (equal & behind)), rank, _mm512_set1_epi32(1));
    }
    return rank;
  }

  /// Experts of at least `bound`, ascending; their number, or some number above `lanes`.
  CULL_TARGET_AVX512 static int list(float const* scores, std::int64_t experts, float bound, std::int32_t* ids,
                                     float* kept) noexcept {
    auto const limit = _mm512_set1_ps(bound);
    auto id = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    int count = 0;
    for (std::int64_t e = 0; e < experts; e += lanes, id = _mm512_add_epi32(id, _mm512_set1_epi32(lanes))) {
      auto const value = _mm512_load_ps(scores + e);
      auto const set = _mm512_cmp_ps_mask(value, limit, _CMP_GE_OQ);
      _mm512_storeu_ps(kept + count, _mm512_maskz_compress_ps(set, value));
      _mm512_storeu_si512(ids + count, _mm512_maskz_compress_epi32(set, id));
      count += std::popcount(static_cast<unsigned>(set));
      if (count > lanes) break;
    }
    return count;
  }
};

}  // namespace detail

CULL_NAMESPACE_END

#endif
