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
  CULL_TARGET_AVX512 static std::uint32_t row(T const* x, std::int64_t blocks, float tensor_scale, packed_target to) noexcept {
    return row_by<pack_avx512, Dialect>(x, blocks, tensor_scale, to);
  }

  template <class Dialect, class T>
  CULL_TARGET_AVX512 static void refined_codes(T const* x, std::int64_t blocks, float const* divisors,
                                               std::uint8_t* codes) noexcept {
    codes_of<Dialect, quotient::refined>(x, blocks, divisors, codes);
  }

 protected:
  template <class Dialect, quotient How, class T>
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) void codes_of_4(T const* x, float const* divisors,
                                                                                  float const* over_one,
                                                                                  std::uint8_t* codes) noexcept {
    __m512i of[4];
    CULL_UNROLL(4)
    for (int i = 0; i < 4; ++i) of[i] = codes_of_16<Dialect, How>(load(x + 16 * i), divisors[i], over_one[i]);
    auto const packed = _mm512_packs_epi16(_mm512_packs_epi32(of[0], of[1]), _mm512_packs_epi32(of[2], of[3]));
    auto const bytes = _mm512_maddubs_epi16(packed, _mm512_set1_epi16(0x1001));
    auto const order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    auto const ordered = _mm512_maskz_permutexvar_epi32(0xffff, order, bytes);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes), _mm512_maskz_cvtepi16_epi8(0xffffffff, ordered));
  }

  /// `row` with the `refined_codes` of a kernel.
  template <class Kernel, class Dialect, class T>
  CULL_TARGET_AVX512 static std::uint32_t row_by(T const* x, std::int64_t blocks, float tensor_scale, packed_target to) noexcept {
    code_place<T> place{to.streamed};
    auto most = _mm512_setzero_si512();
    auto const limit = _mm512_castps_si512(_mm512_set1_ps(refined_amax<Dialect>(tensor_scale)));
    alignas(64) float divisors[blocks_at_once<T>];
    for (std::int64_t first = 0; first < blocks; first += blocks_at_once<T>) {
      auto const last = first + blocks_at_once<T> < blocks ? first + blocks_at_once<T> : blocks;
      auto group = _mm512_setzero_si512();
      for (std::int64_t b = first; b < last; b += 16) {
        auto const amax = amax_of_16(x + 16 * b);
        group = larger(group, amax);
        _mm512_store_ps(divisors + (b - first), scales_of_16<Dialect>(_mm512_castsi512_ps(amax), tensor_scale, to.scales + b));
      }
      most = larger(most, group);
      auto* const codes = place.begin(to.codes + 8 * first);
      if (_mm512_cmpgt_epi32_mask(group, limit) == 0)
        Kernel::template refined_codes<Dialect>(x + 16 * first, last - first, divisors, codes);
      else
        codes_of<Dialect, quotient::divided>(x + 16 * first, last - first, divisors, codes);
      place.end(to.codes + 8 * first, 8 * (last - first));
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
  /// Half a vector a block: its first and last eight values need no shuffle to meet.
  template <class T>
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m256i amax_of_halves(T const* x) noexcept {
    auto const size = _mm256_set1_epi32(0x7fffffff);
    return _mm256_max_epi32(_mm256_and_si256(_mm256_castps_si256(pack_avx2::load(x)), size),
                            _mm256_and_si256(_mm256_castps_si256(pack_avx2::load(x + 8)), size));
  }
  template <class T>
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m256i amax_of_2(T const* x) noexcept {
    auto const a = amax_of_halves(x), b = amax_of_halves(x + 16);
    return _mm256_max_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
  }
  /// Per 128 bits one value of each of four blocks.
  template <class T>
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m256i amax_of_4(T const* x) noexcept {
    auto const a = amax_of_2(x), b = amax_of_2(x + 32);
    return _mm256_max_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
  }
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m512i amax_of_16(float const* x) noexcept {
    auto const ab = _mm512_maskz_inserti64x4(0xff, _mm512_castsi256_si512(amax_of_4(x)), amax_of_4(x + 64), 1);
    auto const cd = _mm512_maskz_inserti64x4(0xff, _mm512_castsi256_si512(amax_of_4(x + 128)), amax_of_4(x + 192), 1);
    return larger(_mm512_maskz_shuffle_i32x4(0xffff, ab, cd, 0x88), _mm512_maskz_shuffle_i32x4(0xffff, ab, cd, 0xdd));
  }
  /// Two blocks of bf16 to a vector, compared as words; after three rounds 128 bits hold one value of each of eight vectors.
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m512i amax_of_16(std::uint16_t const* x) noexcept {
    __m512i v[8];
    CULL_UNROLL(8)
    for (int i = 0; i < 8; ++i) v[i] = _mm512_and_si512(_mm512_loadu_si512(x + 32 * i), _mm512_set1_epi16(0x7fff));
    CULL_UNROLL(4)
    for (int i = 0; i < 8; i += 2) {
      v[i] = larger_words(_mm512_maskz_unpacklo_epi16(~0u, v[i], v[i + 1]), _mm512_maskz_unpackhi_epi16(~0u, v[i], v[i + 1]));
    }
    CULL_UNROLL(2)
    for (int i = 0; i < 8; i += 4) {
      v[i] =
          larger_words(_mm512_maskz_unpacklo_epi32(0xffff, v[i], v[i + 2]), _mm512_maskz_unpackhi_epi32(0xffff, v[i], v[i + 2]));
    }
    auto const eights =
        larger_words(_mm512_maskz_unpacklo_epi64(0xff, v[0], v[4]), _mm512_maskz_unpackhi_epi64(0xff, v[0], v[4]));
    auto const halves = larger_words(eights, _mm512_maskz_shuffle_i32x4(0xffff, eights, eights, 0xb1));
    // Words 0 to 7 are of blocks with even numbers, 16 to 23 of the others: each to the upper half of its lane.
    auto const order =
        _mm512_set_epi16(23, 0, 7, 0, 22, 0, 6, 0, 21, 0, 5, 0, 20, 0, 4, 0, 19, 0, 3, 0, 18, 0, 2, 0, 17, 0, 1, 0, 16, 0, 0, 0);
    return _mm512_maskz_permutexvar_epi16(0xaaaaaaaau, order, halves);
  }
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m512i larger_words(__m512i a, __m512i b) noexcept {
    return _mm512_maskz_max_epu16(~0u, a, b);
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
    wanted = _mm512_maskz_min_ps(0xffff, wanted, _mm512_set1_ps(448.0f));
    auto const power =
        larger(_mm512_and_si512(_mm512_castps_si512(wanted), _mm512_set1_epi32(0x7f800000)), _mm512_set1_epi32(0x3c800000));
    auto const large = _mm512_castsi512_ps(_mm512_add_epi32(power, _mm512_set1_epi32(e4m3_rounding_step)));
    auto const sum = _mm512_add_ps(wanted, large);
    auto const word = _mm512_castps_si512(sum);
    auto code = _mm512_add_epi32(word, _mm512_maskz_srli_epi32(0xffff, word, 20));
    auto scale = _mm512_sub_ps(sum, large);
    if constexpr (!std::is_same_v<Dialect, modelopt>) {
      auto const none = _mm512_cmp_ps_mask(scale, _mm512_setzero_ps(), _CMP_EQ_OQ);
      code = _mm512_mask_mov_epi32(code, none, _mm512_set1_epi32(0x20));
      scale = _mm512_mask_mov_ps(scale, none, _mm512_set1_ps(0.125f));
    }
    _mm_storeu_si128(reinterpret_cast<__m128i*>(scales), _mm512_maskz_cvtepi32_epi8(0xffff, code));
    return std::is_same_v<Dialect, modelopt> ? _mm512_mul_ps(scale, own) : _mm512_div_ps(scale, own);
  }

  template <class Dialect, quotient How, class T>
  CULL_TARGET_AVX512 static void codes_of(T const* x, std::int64_t blocks, float const* divisors, std::uint8_t* codes) noexcept {
    alignas(64) float reciprocals[blocks_at_once<T>];
    for (std::int64_t b = 0; How == quotient::refined && b < blocks; b += 16)
      _mm512_store_ps(reciprocals + b, _mm512_div_ps(_mm512_set1_ps(1.0f), _mm512_load_ps(divisors + b)));
    float const* const over_one = How == quotient::refined ? reciprocals : divisors;
    for (std::int64_t b = 0; b < blocks; b += 4) {
      ask_for_values<4>(x + 16 * b);
      codes_of_4<Dialect, How>(x + 16 * b, divisors + b, over_one + b, codes + 8 * b);
    }
  }
  /// `round_to_e2m1` of a block's quotients.
  template <class Dialect, quotient How>
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m512i codes_of_16(__m512 x, float over,
                                                                                      float over_one) noexcept {
    auto const zero = _mm512_setzero_ps(), divisor = _mm512_set1_ps(over), reciprocal = _mm512_set1_ps(over_one);
    __m512 q, sign;
    if constexpr (How == quotient::refined) {
      q = _mm512_fmadd_ps(x, reciprocal, zero);
      sign = q = _mm512_fmadd_ps(_mm512_fnmadd_ps(q, divisor, x), reciprocal, q);
    } else {
      q = _mm512_div_ps(x, divisor);
      auto const has_sign = std::is_same_v<Dialect, modelopt> ? x : q;  // the quotient may have underflowed
      sign = _mm512_add_ps(has_sign, zero);                             // -0 has none
    }
    auto const size = _mm512_and_si512(_mm512_castps_si512(q), _mm512_set1_epi32(0x7fffffff));
    auto const a = _mm512_maskz_min_ps(0xffff, _mm512_castsi512_ps(size), _mm512_set1_ps(6.0f));
    auto const power = _mm512_maskz_max_epi32(0xffff, _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(0x7f800000)),
                                              _mm512_set1_epi32(0x3f800000));
    auto const large = _mm512_castsi512_ps(_mm512_add_epi32(power, _mm512_set1_epi32(e2m1_rounding_step)));
    auto const sum = _mm512_castps_si512(_mm512_add_ps(a, large));
    auto const code = _mm512_add_epi32(sum, _mm512_maskz_srli_epi32(0xffff, sum, 22));
    auto const upper = _mm512_maskz_srli_epi32(0xffff, _mm512_castps_si512(sign), 28);
    return _mm512_ternarylogic_epi32(_mm512_set1_epi32(7), code, upper, 0xca);  // the lower three bits from code
  }
};

}  // namespace detail

CULL_NAMESPACE_END

#endif
