// SPDX-License-Identifier: Apache-2.0
// Sums of 16 lanes v[4L + j], in one order for all kernels: per j the four L as (v0 + v2) + (v1 + v3), then the four j likewise.
#pragma once

#include <cull/config.hpp>
#include <cull/cpu/x86/targets.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// Over L, of two vectors: their halves side by side.
CULL_TARGET_AVX512 inline __m512 add_quarters(__m512 a, __m512 b) noexcept {
  return _mm512_add_ps(_mm512_maskz_shuffle_f32x4(0xffff, a, b, 0x44), _mm512_maskz_shuffle_f32x4(0xffff, a, b, 0xee));
}
/// Over L, of four vectors: each 128 bits hold one's four sums over j still to be taken.
CULL_TARGET_AVX512 inline __m512 add_quarters(__m512 a, __m512 b, __m512 c, __m512 d) noexcept {
  auto const ab = add_quarters(a, b);
  auto const cd = add_quarters(c, d);
  return _mm512_add_ps(_mm512_maskz_shuffle_f32x4(0xffff, ab, cd, 0x88), _mm512_maskz_shuffle_f32x4(0xffff, ab, cd, 0xdd));
}
CULL_TARGET_AVX512 inline __m512 add_pairs(__m512 a, __m512 b) noexcept {
  return _mm512_add_ps(_mm512_maskz_unpacklo_ps(0xffff, a, b), _mm512_maskz_unpackhi_ps(0xffff, a, b));
}

/// Sum of every vector, in the order of `v[0..15]`.
CULL_TARGET_AVX512 inline __m512 lane_sums_16(__m512 const* v) noexcept {
  auto const r0 = add_pairs(add_quarters(v[0], v[4], v[8], v[12]), add_quarters(v[1], v[5], v[9], v[13]));
  auto const r1 = add_pairs(add_quarters(v[2], v[6], v[10], v[14]), add_quarters(v[3], v[7], v[11], v[15]));
  auto const d0 = _mm512_castps_pd(r0);
  auto const d1 = _mm512_castps_pd(r1);
  return _mm512_add_ps(_mm512_castpd_ps(_mm512_maskz_unpacklo_pd(0xff, d0, d1)),
                       _mm512_castpd_ps(_mm512_maskz_unpackhi_pd(0xff, d0, d1)));
}

/// The same of `v[0..7]`, in the first eight lanes.
CULL_TARGET_AVX512 inline __attribute__((always_inline)) __m512 lane_sums_8(__m512 const* v) noexcept {
  auto const r = _mm512_castps_pd(add_pairs(add_quarters(v[0], v[2], v[4], v[6]), add_quarters(v[1], v[3], v[5], v[7])));
  auto const doubled = _mm512_add_ps(_mm512_castpd_ps(_mm512_maskz_unpacklo_pd(0xff, r, r)),
                                     _mm512_castpd_ps(_mm512_maskz_unpackhi_pd(0xff, r, r)));
  return _mm512_maskz_compress_ps(0x3333, doubled);
}

/// The same of one vector held as its lower and upper half.
CULL_TARGET_AVX2 inline float lane_sum(__m256 lower, __m256 upper) noexcept {
  auto const halves = _mm256_add_ps(lower, upper);
  auto const j = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps(halves, 1));
  auto const pairs = _mm_add_ps(j, _mm_movehl_ps(j, j));
  return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps(pairs, pairs, 1)));
}

/// Of two vectors of 16 lanes, held as halves: each 128 bits hold one's four sums over j still to be taken.
CULL_TARGET_AVX2 inline __m256 add_halves(__m256 lower_a, __m256 upper_a, __m256 lower_b, __m256 upper_b) noexcept {
  auto const a = _mm256_add_ps(lower_a, upper_a);
  auto const b = _mm256_add_ps(lower_b, upper_b);
  return _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
}
/// `lane_sum` of six at once: the first three in lanes 0 to 2, the others in lanes 4 to 6.
CULL_TARGET_AVX2 inline __m256 lane_sums_6(__m256 const* lower, __m256 const* upper) noexcept {
  auto const a = add_halves(lower[0], upper[0], lower[3], upper[3]);
  auto const b = add_halves(lower[1], upper[1], lower[4], upper[4]);
  auto const c = add_halves(lower[2], upper[2], lower[5], upper[5]);
  auto const ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
  auto const cc = _mm256_add_ps(_mm256_unpacklo_ps(c, c), _mm256_unpackhi_ps(c, c));
  return _mm256_add_ps(_mm256_shuffle_ps(ab, cc, 0x44), _mm256_shuffle_ps(ab, cc, 0xee));
}

CULL_TARGET_AVX512 inline float lane_sum(__m512 v) noexcept {
  alignas(64) float lanes[16];
  _mm512_store_ps(lanes, v);
  return lane_sum(_mm256_load_ps(lanes), _mm256_load_ps(lanes + 8));
}

}  // namespace detail

CULL_NAMESPACE_END

#endif
