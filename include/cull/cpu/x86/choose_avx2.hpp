// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cstdint>

#include <cull/config.hpp>
#include <cull/cpu/x86/targets.hpp>
#include <cull/router/stage.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// The k best candidates of a row, ties to the lower id, as `choose_stage` chooses.
///
/// Sixteen lanes take every sixteenth expert each; the k-th largest of their maxima is a bound that at least k experts reach, and
/// rarely many more. Those are listed in ascending id, and the least of them taken out until k are left.
struct choose_avx2 {
  static constexpr int most = 12;  // a larger k is too near the lanes' number for the bound to leave few

  /// Writes `row.ids`, ascending. False, and nothing written, where it does not apply: k too large, scores that are NaN, fewer
  /// than k candidates above -infinity, or too many at the bound.
  CULL_TARGET_AVX2 static bool run(row_ref row, int k) noexcept {
    if (k > most || row.experts() < 16 || row.experts() > most_experts) return false;
    alignas(32) float scores[most_experts];
    float const bound = lane_bound(row, k, scores);
    if (!(bound > -__builtin_inff())) return false;
    std::int32_t ids[listed];
    float kept[listed];
    int count = list(scores, row.experts(), bound, ids, kept);
    if (count > listed || count < k) return false;
    for (; count > k; --count) drop_least(ids, kept, count);
    for (int i = 0; i < k; ++i) row.ids[i] = ids[i];
    return true;
  }

 private:
  static constexpr std::int64_t most_experts = 1024;
  static constexpr int listed = 32;

  /// Copies the scores, those of no candidate as -infinity; returns the k-th largest maximum of the lanes, NaN where a score is.
  CULL_TARGET_AVX2 static float lane_bound(row_ref row, int k, float* scores) noexcept {
    auto const lowest = _mm256_set1_ps(-__builtin_inff());
    __m256 best[2] = {lowest, lowest};
    auto unordered = _mm256_setzero_ps();
    std::int64_t e = 0;
    for (; e + 16 <= row.experts(); e += 16) {
      CULL_UNROLL(2)
      for (int half = 0; half < 2; ++half) {
        auto const at = e + 8 * half;
        auto const flags = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<__m128i const*>(row.candidate.data() + at)));
        auto const absent = _mm256_castsi256_ps(_mm256_cmpeq_epi32(flags, _mm256_setzero_si256()));
        auto const value = _mm256_blendv_ps(_mm256_loadu_ps(row.choice.data() + at), lowest, absent);
        unordered = _mm256_or_ps(unordered, _mm256_cmp_ps(value, value, _CMP_UNORD_Q));
        best[half] = _mm256_max_ps(best[half], value);
        _mm256_store_ps(scores + at, value);
      }
    }
    alignas(32) float lanes[16];
    _mm256_store_ps(lanes, best[0]);
    _mm256_store_ps(lanes + 8, best[1]);
    bool sound = _mm256_movemask_ps(unordered) == 0;
    for (; e < row.experts(); ++e) {
      scores[e] = row.candidate[e] ? row.choice[e] : -__builtin_inff();
      sound = sound && scores[e] == scores[e];
      if (scores[e] > lanes[e % 16]) lanes[e % 16] = scores[e];
    }
    return sound ? largest(lanes, k) : __builtin_nanf("");
  }

  /// The k-th largest of 16: the least of those that fewer than k exceed.
  CULL_TARGET_AVX2 static float largest(float const* lanes, int k) noexcept {
    auto const a = _mm256_load_ps(lanes), b = _mm256_load_ps(lanes + 8);
    auto above_a = _mm256_setzero_si256(), above_b = above_a;
    CULL_UNROLL(16)
    for (int i = 0; i < 16; ++i) {
      auto const each = _mm256_broadcast_ss(lanes + i);
      above_a = _mm256_sub_epi32(above_a, _mm256_castps_si256(_mm256_cmp_ps(each, a, _CMP_GT_OQ)));
      above_b = _mm256_sub_epi32(above_b, _mm256_castps_si256(_mm256_cmp_ps(each, b, _CMP_GT_OQ)));
    }
    auto const few = _mm256_set1_epi32(k);
    auto const none = _mm256_set1_ps(__builtin_inff());
    auto const in_a = _mm256_blendv_ps(none, a, _mm256_castsi256_ps(_mm256_cmpgt_epi32(few, above_a)));
    auto const in_b = _mm256_blendv_ps(none, b, _mm256_castsi256_ps(_mm256_cmpgt_epi32(few, above_b)));
    auto const m = _mm256_min_ps(in_a, in_b);
    auto half = _mm_min_ps(_mm256_castps256_ps128(m), _mm256_extractf128_ps(m, 1));
    half = _mm_min_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_min_ss(half, _mm_shuffle_ps(half, half, 1)));
  }

  /// Experts of at least `bound`, ascending; their number, or more than `listed` where they are too many.
  CULL_TARGET_AVX2 static int list(float const* scores, std::int64_t experts, float bound, std::int32_t* ids,
                                   float* kept) noexcept {
    auto const limit = _mm256_set1_ps(bound);
    int count = 0;
    std::int64_t e = 0;
    for (; e + 16 <= experts; e += 16) {
      auto const low = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_load_ps(scores + e), limit, _CMP_GE_OQ));
      auto const high = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_load_ps(scores + e + 8), limit, _CMP_GE_OQ));
      for (auto set = static_cast<unsigned>(low | high << 8); set != 0; set &= set - 1) {
        if (count == listed) return listed + 1;
        auto const at = e + std::countr_zero(set);
        ids[count] = static_cast<std::int32_t>(at);
        kept[count++] = scores[at];
      }
    }
    for (; e < experts; ++e) {
      if (!(scores[e] >= bound)) continue;
      if (count == listed) return listed + 1;
      ids[count] = static_cast<std::int32_t>(e);
      kept[count++] = scores[e];
    }
    return count;
  }

  /// Takes out the least, of equals the highest id.
  static void drop_least(std::int32_t* ids, float* kept, int count) noexcept {
    int least = 0;
    for (int i = 1; i < count; ++i) least = kept[i] <= kept[least] ? i : least;
    for (int i = least; i + 1 < count; ++i) {
      ids[i] = ids[i + 1];
      kept[i] = kept[i + 1];
    }
  }
};

}  // namespace detail

CULL_NAMESPACE_END

#endif
