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
    return row_by<pack_avx512, Dialect>(x, blocks, tensor_scale, codes, scales);
  }

  template <class Dialect, class T>
  CULL_TARGET_AVX512 static void refined_codes(T const* x, std::int64_t blocks, float* divisors, std::uint8_t* codes) noexcept {
    codes_of<Dialect, quotient::refined>(x, blocks, divisors, codes);
  }

 protected:
  /// `row` with the `refined_codes` of a kernel, which may change the divisors.
  template <class Kernel, class Dialect, class T>
  CULL_TARGET_AVX512 static std::uint32_t row_by(T const* x, std::int64_t blocks, float tensor_scale, std::uint8_t* codes,
                                                 std::uint8_t* scales) noexcept {
    auto most = _mm512_setzero_si512();
    alignas(64) float divisors[blocks_at_once];
    for (std::int64_t first = 0; first < blocks; first += blocks_at_once) {
      auto const last = first + blocks_at_once < blocks ? first + blocks_at_once : blocks;
      unsigned served = 0xffff;
      for (std::int64_t b = first; b < last; b += 16) {
        auto const amax = amax_of_16(x + 16 * b);
        most = larger(most, amax);
        auto const divisor = scales_of_16<Dialect>(_mm512_castsi512_ps(amax), tensor_scale, scales + b);
        served &= serves<Dialect>(divisor, _mm512_castsi512_ps(amax));
        _mm512_store_ps(divisors + (b - first), divisor);
      }
      if (served == 0xffff)
        Kernel::template refined_codes<Dialect>(x + 16 * first, last - first, divisors, codes + 8 * first);
      else
        codes_of<Dialect, quotient::divided>(x + 16 * first, last - first, divisors, codes + 8 * first);
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
  template <class T>
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m512i amax_of_16(T const* x) noexcept {
    auto const ab = _mm512_maskz_inserti64x4(0xff, _mm512_castsi256_si512(amax_of_4(x)), amax_of_4(x + 64), 1);
    auto const cd = _mm512_maskz_inserti64x4(0xff, _mm512_castsi256_si512(amax_of_4(x + 128)), amax_of_4(x + 192), 1);
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

  /// The lanes where `block_quotient` serves.
  template <class Dialect>
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) unsigned serves(__m512 divisor, __m512 amax) noexcept {
    auto const ones = _mm512_set1_epi32(0x7fffff);
    unsigned const all_ones = _mm512_cmpeq_epi32_mask(_mm512_and_si512(_mm512_castps_si512(divisor), ones), ones);
    unsigned const enough = _mm512_cmp_ps_mask(divisor, _mm512_set1_ps(block_quotient::least), _CMP_GE_OQ);
    unsigned const few = _mm512_cmp_ps_mask(divisor, _mm512_set1_ps(greatest_divisor<Dialect>), _CMP_LE_OQ);
    unsigned const near = _mm512_cmp_ps_mask(amax, _mm512_mul_ps(_mm512_set1_ps(16.0f), divisor), _CMP_LE_OQ);
    return enough & few & near & ~all_ones;
  }

  template <class Dialect, quotient How, class T>
  CULL_TARGET_AVX512 static void codes_of(T const* x, std::int64_t blocks, float* divisors, std::uint8_t* codes) noexcept {
    alignas(64) float reciprocals[blocks_at_once];
    for (std::int64_t b = 0; How == quotient::refined && b < blocks; b += 16)
      _mm512_store_ps(reciprocals + b, _mm512_div_ps(_mm512_set1_ps(1.0f), _mm512_load_ps(divisors + b)));
    float const* const over_one = How == quotient::refined ? reciprocals : divisors;
    for (std::int64_t b = 0; b < blocks; b += 4, x += 64, codes += 32) {
      ask_for_values<4>(x);
      __m512i of[4];
      CULL_UNROLL(4)
      for (int i = 0; i < 4; ++i) of[i] = codes_of_16<Dialect, How>(load(x + 16 * i), divisors[b + i], over_one[b + i]);
      auto const packed = _mm512_packs_epi16(_mm512_packs_epi32(of[0], of[1]), _mm512_packs_epi32(of[2], of[3]));
      auto const bytes = _mm512_maddubs_epi16(packed, _mm512_set1_epi16(0x1001));
      auto const order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
      auto const ordered = _mm512_maskz_permutexvar_epi32(0xffff, order, bytes);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes), _mm512_maskz_cvtepi16_epi8(0xffffffff, ordered));
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
