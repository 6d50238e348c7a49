// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/cpu/x86/pack.hpp>
#include <cull/cpu/x86/targets.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// `pack_avx2`, a block to a vector.
struct pack_avx512 {
  static constexpr std::int64_t unit = 16;

  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m512 load(float const* x) noexcept {
    return _mm512_loadu_ps(x);
  }
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m512 load(std::uint16_t const* x) noexcept {
    auto const words = _mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256(reinterpret_cast<__m256i const*>(x)));
    return _mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xffff, words, 16));
  }

  template <class T>
  CULL_TARGET_AVX512 static std::uint32_t amax_bits(T const* x, std::int64_t blocks) noexcept {
    auto most = _mm512_setzero_si512();
    for (std::int64_t b = 0; b < blocks; ++b, x += 16) most = larger(most, magnitude(x));
    return largest(most);
  }

  template <class Dialect, class T>
  CULL_TARGET_AVX512 static std::uint32_t row(T const* x, std::int64_t blocks, float tensor_scale, std::uint8_t* codes,
                                              std::uint8_t* scales) noexcept {
    auto most = _mm512_setzero_si512();
    alignas(64) float divisors[blocks_at_once];
    for (std::int64_t first = 0; first < blocks; first += blocks_at_once) {
      auto const last = first + blocks_at_once < blocks ? first + blocks_at_once : blocks;
      for (std::int64_t b = first; b < last; b += 16) {
        auto const amax = amax_of_16(x + 16 * b);
        most = larger(most, amax);
        _mm512_store_ps(divisors + (b - first), scales_of_16<Dialect>(_mm512_castsi512_ps(amax), tensor_scale, scales + b));
      }
      for (std::int64_t b = first; b < last; b += 4) codes_of_4<Dialect>(x + 16 * b, divisors + (b - first), codes + 8 * b);
    }
    return largest(most);
  }

 private:
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m512i larger(__m512i a, __m512i b) noexcept {
    return _mm512_maskz_max_epi32(0xffff, a, b);
  }
  template <class T>
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m512i magnitude(T const* x) noexcept {
    return _mm512_and_si512(_mm512_castps_si512(load(x)), _mm512_set1_epi32(0x7fffffff));
  }
  CULL_TARGET_AVX512 static std::uint32_t largest(__m512i v) noexcept {
    alignas(64) std::uint32_t lanes[16];
    _mm512_store_si512(lanes, v);
    std::uint32_t out = 0;
    for (auto const lane : lanes) out = lane > out ? lane : out;
    return out;
  }
  template <class T>
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m512i amax_of_2(T const* x) noexcept {
    auto const a = magnitude(x), b = magnitude(x + 16);
    return larger(_mm512_maskz_unpacklo_epi32(0xffff, a, b), _mm512_maskz_unpackhi_epi32(0xffff, a, b));
  }
  /// Per 128 bits one value of each of four blocks.
  template <class T>
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m512i amax_of_4(T const* x) noexcept {
    auto const a = amax_of_2(x), b = amax_of_2(x + 32);
    return larger(_mm512_maskz_unpacklo_epi64(0xff, a, b), _mm512_maskz_unpackhi_epi64(0xff, a, b));
  }
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m512i quarters(__m512i a, __m512i b) noexcept {
    return larger(_mm512_maskz_shuffle_i32x4(0xffff, a, b, 0x44), _mm512_maskz_shuffle_i32x4(0xffff, a, b, 0xee));
  }
  template <class T>
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m512i amax_of_16(T const* x) noexcept {
    auto const ab = quarters(amax_of_4(x), amax_of_4(x + 64));
    auto const cd = quarters(amax_of_4(x + 128), amax_of_4(x + 192));
    return larger(_mm512_maskz_shuffle_i32x4(0xffff, ab, cd, 0x88), _mm512_maskz_shuffle_i32x4(0xffff, ab, cd, 0xdd));
  }

  template <class Dialect>
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m512 scales_of_16(__m512 amax, float tensor_scale,
                                                                                      std::uint8_t* scales) noexcept {
    auto const own = _mm512_set1_ps(tensor_scale);
    __m512 wanted;
    if constexpr (std::is_same_v<Dialect, modelopt>) {
      wanted = _mm512_div_ps(amax, _mm512_set1_ps(6.0f * tensor_scale));
      auto const none = _mm512_cmp_ps_mask(wanted, _mm512_setzero_ps(), _CMP_EQ_OQ);
      wanted = _mm512_maskz_max_ps(0xffff, _mm512_mask_mov_ps(wanted, none, _mm512_set1_ps(1.0f)), _mm512_set1_ps(0x1p-9f));
    } else {
      wanted = _mm512_mul_ps(own, _mm512_div_ps(amax, _mm512_set1_ps(6.0f)));
    }
    auto code = encode(_mm512_maskz_min_ps(0xffff, wanted, _mm512_set1_ps(448.0f)));
    if constexpr (!std::is_same_v<Dialect, modelopt>) {
      auto const none = _mm512_cmpeq_epi32_mask(code, _mm512_setzero_si512());
      code = _mm512_mask_mov_epi32(code, none, _mm512_set1_epi32(0x20));  // 0.125
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(scales), _mm512_maskz_cvtepi32_epi8(0xffff, code));
    auto const scale = decode(code);
    return std::is_same_v<Dialect, modelopt> ? _mm512_mul_ps(scale, own) : _mm512_div_ps(scale, own);
  }
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m512i encode(__m512 v) noexcept {
    auto const word = _mm512_castps_si512(v);
    auto const odd = _mm512_and_si512(_mm512_maskz_srli_epi32(0xffff, word, 20), _mm512_set1_epi32(1));
    auto const rounded = _mm512_add_epi32(_mm512_add_epi32(word, _mm512_set1_epi32(0x7ffff)), odd);
    auto const normal = _mm512_sub_epi32(_mm512_maskz_srli_epi32(0xffff, rounded, 20), _mm512_set1_epi32(120 << 3));
    auto const small = _mm512_maskz_cvtps_epi32(0xffff, _mm512_mul_ps(v, _mm512_set1_ps(512.0f)));
    return _mm512_mask_mov_epi32(normal, _mm512_cmp_ps_mask(v, _mm512_set1_ps(0x1p-6f), _CMP_LT_OQ), small);
  }
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m512 decode(__m512i code) noexcept {
    auto const normal = _mm512_add_epi32(_mm512_maskz_slli_epi32(0xffff, code, 20), _mm512_set1_epi32(120 << 23));
    auto const small = _mm512_mul_ps(_mm512_maskz_cvtepi32_ps(0xffff, code), _mm512_set1_ps(0x1p-9f));
    return _mm512_mask_mov_ps(_mm512_castsi512_ps(normal), _mm512_cmpgt_epi32_mask(_mm512_set1_epi32(8), code), small);
  }

  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m512i sticky(__m512 v, float divisor) noexcept {
    auto const q = _mm512_mul_ps(_mm512_div_ps(v, _mm512_set1_ps(divisor)), _mm512_set1_ps(4.0f));
    // 9, 10: floor and ceiling, no exception.
    auto const sum = _mm512_add_ps(_mm512_maskz_roundscale_ps(0xffff, q, 9), _mm512_maskz_roundscale_ps(0xffff, q, 10));
    return _mm512_maskz_cvtps_epi32(0xffff, sum);
  }
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) std::uint64_t below_zero(__m512 v) noexcept {
    return static_cast<std::uint64_t>(_mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_LT_OQ));
  }
  template <class Dialect, class T>
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) void codes_of_4(T const* x, float const* d,
                                                                                  std::uint8_t* codes) noexcept {
    auto const a = load(x), b = load(x + 16), c = load(x + 32), e = load(x + 48);
    auto const packed = _mm512_packs_epi16(_mm512_packs_epi32(sticky(a, d[0]), sticky(b, d[1])),
                                           _mm512_packs_epi32(sticky(c, d[2]), sticky(e, d[3])));
    auto const order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    auto const steps = _mm512_maskz_permutexvar_epi32(0xffff, order, packed);
    std::uint64_t negative = 0;
    if constexpr (std::is_same_v<Dialect, modelopt>) {
      negative = below_zero(a) | below_zero(b) << 16 | below_zero(c) << 32 | below_zero(e) << 48;
    } else {
      negative = _mm512_movepi8_mask(steps);
    }
    constexpr std::uint64_t all = ~std::uint64_t{0};
    auto const size = _mm512_maskz_abs_epi8(all, _mm512_maskz_max_epi8(all, steps, _mm512_set1_epi8(-127)));
    auto code = _mm512_maskz_mov_epi8(negative, _mm512_set1_epi8(8));
    for (auto const step : code_steps) {
      code = _mm512_mask_add_epi8(code, _mm512_cmpgt_epi8_mask(size, _mm512_set1_epi8(step)), code, _mm512_set1_epi8(1));
    }
    auto const bytes = _mm512_maddubs_epi16(code, _mm512_set1_epi16(0x1001));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes), _mm512_maskz_cvtepi16_epi8(0xffffffff, bytes));
  }
};

}  // namespace detail

CULL_NAMESPACE_END

#endif
