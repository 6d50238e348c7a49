// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/cpu/x86/pack_avx512.hpp>
#include <cull/cpu/x86/targets.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// e2m1 codes by 64 more than the integer below four times a value that is no integer there: all borders between codes are.
inline constexpr auto e2m1_code_above = [] {
  constexpr int borders[] = {1, 3, 5, 7, 10, 14, 20};
  std::array<std::uint8_t, 128> out{};
  for (int i = 0; i < 128; ++i) {
    int const below = i - 64;
    unsigned code = below < 0 ? 8 : 0;
    for (int const border : borders) code += (below < 0 ? -1 - below : below) >= border ? 1u : 0u;
    out[static_cast<unsigned>(i)] = static_cast<std::uint8_t>(code);
  }
  return out;
}();

/// `pack_avx512` with one product a value. Four times the quotient, added to 192, is a number of seven bits and sixteen of
/// fraction, whose last is off by less than one from the rounded quotient's: a half by the addition, a quarter by the reciprocal,
/// an eighth by the quotient's own rounding. So the integer below is right, and tells the code, unless the fraction is within one
/// of an integer's; groups with such a value, zero for one, are done again as `pack_avx512` does them.
struct pack_vbmi : pack_avx512 {
  template <class Dialect, class T>
  CULL_TARGET_AVX512_VBMI static std::uint32_t row(T const* x, std::int64_t blocks, float tensor_scale,
                                                   packed_target to) noexcept {
    return row_by<pack_vbmi, Dialect>(x, blocks, tensor_scale, to);
  }

  template <class Dialect, class T>
  CULL_TARGET_AVX512_VBMI static void refined_codes(T const* x, std::int64_t blocks, float const* divisors,
                                                    std::uint8_t* codes) noexcept {
    alignas(64) float fours[blocks_at_once<T>];
    for (std::int64_t b = 0; b < blocks; b += 16)
      _mm512_store_ps(fours + b, _mm512_div_ps(_mm512_set1_ps(4.0f), _mm512_load_ps(divisors + b)));
    constexpr std::int64_t group = std::is_same_v<T, float> ? 4 : 8;
    std::uint32_t undecided = 0;
    for (std::int64_t b = 0; b < blocks; b += group) {
      ask_for_values<group>(x + 16 * b);
      auto const near_integer = codes_of_group(x + 16 * b, fours + b, codes + 8 * b);
      undecided |= (near_integer != 0 ? 1u : 0u) << b / group;
    }
    for (; undecided != 0; undecided &= undecided - 1) {
      auto const first = __builtin_ctz(undecided) * group;
      for (auto b = first; b < first + group; b += 4) {
        alignas(16) float reciprocals[4];
        _mm_store_ps(reciprocals, _mm_mul_ps(_mm_load_ps(fours + b), _mm_set1_ps(0.25f)));
        codes_of_4<Dialect, quotient::refined>(x + 16 * b, divisors + b, reciprocals, codes + 8 * b);
      }
    }
  }

 private:
  static constexpr __mmask64 all = ~__mmask64{0};

  /// Four blocks; the mask is empty unless a value is near an integer.
  CULL_TARGET_AVX512_VBMI static inline __attribute__((always_inline)) __mmask32 codes_of_group(float const* x,
                                                                                                float const* fours,
                                                                                                std::uint8_t* codes) noexcept {
    __m512i of[4];
    CULL_UNROLL(4)
    for (int i = 0; i < 4; ++i) of[i] = place(load(x + 16 * i), _mm512_set1_ps(fours[i]));
    auto const near_integer = fractions_below_2(of);
    auto const low = _mm512_loadu_si512(e2m1_code_above.data()), high = _mm512_loadu_si512(e2m1_code_above.data() + 64);
    auto const single = _mm512_permutex2var_epi8(low, gather(of), high);
    auto const pairs = _mm512_or_si512(single, _mm512_maskz_srli_epi64(0xff, single, 28));
    auto const order =
        _mm512_set_epi64(0, 0, 0, 0, 0x3b332b231b130b03, 0x3931292119110901, 0x3830282018100800, 0x3a322a221a120a02);
    auto const ordered = _mm512_maskz_permutexvar_epi8(all, order, pairs);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes), _mm512_maskz_extracti64x4_epi64(0xf, ordered, 0));
    return near_integer;
  }

  /// Eight blocks, two to a vector: values with even numbers and those with odd ones, which are the upper halves of words.
  CULL_TARGET_AVX512_VBMI static inline __attribute__((always_inline)) __mmask32 codes_of_group(std::uint16_t const* x,
                                                                                                float const* fours,
                                                                                                std::uint8_t* codes) noexcept {
    auto const all_fours = _mm512_castps256_ps512(_mm256_load_ps(fours));
    auto const pair = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
    __m512i even[4], odd[4];
    CULL_UNROLL(4)
    for (int i = 0; i < 4; ++i) {
      auto const words = _mm512_loadu_si512(x + 32 * i);
      auto const four = _mm512_maskz_permutexvar_ps(0xffff, _mm512_add_epi32(pair, _mm512_set1_epi32(2 * i)), all_fours);
      even[i] = place(_mm512_castsi512_ps(_mm512_maskz_slli_epi32(0xffff, words, 16)), four);
      odd[i] = place(_mm512_castsi512_ps(_mm512_and_si512(words, _mm512_set1_epi32(-65536))), four);
    }
    auto const near_integer = static_cast<__mmask32>(fractions_below_2(even) | fractions_below_2(odd));
    auto const low = _mm512_loadu_si512(e2m1_code_above.data()), high = _mm512_loadu_si512(e2m1_code_above.data() + 64);
    auto const first = _mm512_permutex2var_epi8(low, gather(even), high);
    auto const second = _mm512_permutex2var_epi8(low, gather(odd), high);
    auto const pairs = _mm512_or_si512(first, _mm512_maskz_slli_epi16(~0u, second, 4));
    auto const order = _mm512_set_epi64(0x3f3b37332f2b2723, 0x1f1b17130f0b0703, 0x3d3935312d292521, 0x1d1915110d090501,
                                        0x3c3834302c282420, 0x1c1814100c080400, 0x3e3a36322e2a2622, 0x1e1a16120e0a0602);
    _mm512_storeu_si512(codes, _mm512_maskz_permutexvar_epi8(all, order, pairs));
    return near_integer;
  }

  /// 192, and one in the last place.
  CULL_TARGET_AVX512_VBMI static inline __attribute__((always_inline)) __m512i place(__m512 x, __m512 four) noexcept {
    return _mm512_castps_si512(_mm512_fmadd_ps(x, four, _mm512_set1_ps(0x1.800002p7f)));
  }
  CULL_TARGET_AVX512_VBMI static inline __attribute__((always_inline)) __mmask32 fractions_below_2(__m512i const* of) noexcept {
    auto const least = smaller(smaller(of[0], of[1]), smaller(of[2], of[3]));
    return _mm512_cmple_epu16_mask(least, _mm512_set1_epi16(1));
  }
  CULL_TARGET_AVX512_VBMI static inline __attribute__((always_inline)) __m512i smaller(__m512i a, __m512i b) noexcept {
    return _mm512_maskz_min_epu16(~0u, a, b);
  }
  /// The integers of four vectors, in bytes 2, 0, 1 and 3 of each lane.
  CULL_TARGET_AVX512_VBMI static inline __attribute__((always_inline)) __m512i gather(__m512i const* of) noexcept {
    auto const second = _mm512_maskz_broadcast_i32x4(0xffff, _mm_set_epi32(0x0e0e0e0e, 0x0a0a0a0a, 0x06060606, 0x02020202));
    auto const two = _mm512_mask_shuffle_epi8(of[0], 0x1111111111111111u, of[1], second);
    auto const three = _mm512_mask_shuffle_epi8(two, 0x2222222222222222u, of[2], second);
    return _mm512_mask_shuffle_epi8(three, 0x8888888888888888u, of[3], second);
  }
};

}  // namespace detail

CULL_NAMESPACE_END

#endif
