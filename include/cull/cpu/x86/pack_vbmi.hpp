// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>

#include <cull/config.hpp>
#include <cull/cpu/x86/pack_avx512.hpp>
#include <cull/cpu/x86/targets.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// e2m1 codes by place[i & 127], i the sum of the integers below and above four times a value, which is twice that where it is
/// an integer itself. All borders between codes are quarters, so what i leaves out decides nothing.
inline constexpr auto e2m1_code_of_place = [] {
  constexpr int last_of_code[] = {2, 5, 10, 13, 20, 27, 40};  // borders 0.25, 1.25, 2.5 and 5 go down, the others up
  std::array<std::uint8_t, 128> out{};
  for (int i = -64; i < 64; ++i) {
    int const size = i < 0 ? -i : i;
    unsigned code = i < 0 ? 8 : 0;
    for (int const last : last_of_code) code += size > last ? 1u : 0u;
    out[static_cast<unsigned>(i) & 127u] = static_cast<std::uint8_t>(code);
  }
  return out;
}();

/// `pack_avx512` with codes from a table of bytes.
struct pack_vbmi : pack_avx512 {
  template <class Dialect, class T>
  CULL_TARGET_AVX512_VBMI static std::uint32_t row(T const* x, std::int64_t blocks, float tensor_scale, std::uint8_t* codes,
                                                   std::uint8_t* scales) noexcept {
    // Above, the quotient of a subnormal can be zero, whose sign the sum of integers forgets.
    if (!(Dialect::block_multiplier(448.0f, tensor_scale) <= 0.5f)) {
      return pack_avx512::row<Dialect>(x, blocks, tensor_scale, codes, scales);
    }
    return row_by<pack_vbmi, Dialect>(x, blocks, tensor_scale, codes, scales);
  }

  template <class Dialect, class T>
  CULL_TARGET_AVX512_VBMI static void refined_codes(T const* x, std::int64_t blocks, float* divisors,
                                                    std::uint8_t* codes) noexcept {
    alignas(64) float reciprocals[blocks_at_once];
    auto const quarter = _mm512_set1_ps(0.25f);
    for (std::int64_t b = 0; b < blocks; b += 16) {
      auto const divisor = _mm512_mul_ps(_mm512_load_ps(divisors + b), quarter);
      _mm512_store_ps(divisors + b, divisor);
      _mm512_store_ps(reciprocals + b, _mm512_div_ps(_mm512_set1_ps(1.0f), divisor));
    }
    constexpr __mmask64 all = ~__mmask64{0};
    auto const low = _mm512_loadu_si512(e2m1_code_of_place.data()), high = _mm512_loadu_si512(e2m1_code_of_place.data() + 64);
    // Of each four blocks, four values of one after four of the other, a pair of codes to a word.
    auto const order =
        _mm512_set_epi64(0, 0, 0, 0, 0x3e3c2e2c1e1c0e0c, 0x3a382a281a180a08, 0x3634262416140604, 0x3230222012100200);
    for (std::int64_t b = 0; b < blocks; b += 4, x += 64, codes += 32) {
      ask_for_values<4>(x);
      __m512i of[4];
      CULL_UNROLL(4)
      for (int i = 0; i < 4; ++i) of[i] = places_of_16(load(x + 16 * i), divisors[b + i], reciprocals[b + i]);
      auto const packed = _mm512_packs_epi16(_mm512_packs_epi32(of[0], of[1]), _mm512_packs_epi32(of[2], of[3]));
      auto const places =
          _mm512_maskz_max_epi8(all, _mm512_maskz_min_epi8(all, packed, _mm512_set1_epi8(63)), _mm512_set1_epi8(-64));
      auto const bytes = _mm512_maddubs_epi16(_mm512_permutex2var_epi8(low, places, high), _mm512_set1_epi16(0x1001));
      auto const ordered = _mm512_maskz_permutexvar_epi8(all, order, bytes);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes), _mm512_maskz_extracti64x4_epi64(0xf, ordered, 0));
    }
  }

 private:
  /// `block_quotient` of a divisor a quarter of the block's, so of values four times as large.
  CULL_TARGET_AVX512_VBMI static inline __attribute__((always_inline)) __m512i places_of_16(__m512 x, float over,
                                                                                            float over_one) noexcept {
    // Otherwise g++ loads it in both products, and loads become the limit.
    CULL_IN_REGISTER(x);
    auto const divisor = _mm512_set1_ps(over), reciprocal = _mm512_set1_ps(over_one);
    auto const near = _mm512_mul_ps(x, reciprocal);
    auto const value = _mm512_fmadd_ps(_mm512_fnmadd_ps(near, divisor, x), reciprocal, near);
    // Every lane, in a variable: at -O0 the intrinsic is a macro whose mask is a short, and a constant would change its sign.
    __mmask16 every = 0xffff;
    auto const below = _mm512_maskz_cvt_roundps_epi32(every, value, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    auto const above = _mm512_maskz_cvt_roundps_epi32(every, value, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
    return _mm512_add_epi32(below, above);
  }
};

}  // namespace detail

CULL_NAMESPACE_END

#endif
