// SPDX-License-Identifier: Apache-2.0
// Blocks of 16 values to e2m1 codes and e4m3 scales, the bytes of `quantize_block_modelopt` and `quantize_block_compressed`,
// eight or sixteen values at a time: quotients as `block_quotient` where it serves all of some blocks, by true division where
// not. For tensor scales and magnitudes in `pack_range`, where nothing overflows on the way.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/cpu/x86/targets.hpp>
#include <cull/numeric/block_quotient.hpp>
#include <cull/tensor/nvfp4.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// Where a row's codes and scales go, whether by a kernel or, as on other machines, block by block. `streamed`: codes past the
/// caches, as `code_place` writes them.
struct packed_target {
  std::uint8_t* codes;
  std::uint8_t* scales;
  bool streamed;
};

}  // namespace detail

CULL_NAMESPACE_END

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// Blocks whose scales are found before the first of their codes, so that no code waits for a scale; 2 KiB, so that reading goes
/// on evenly.
template <class T>
inline constexpr std::int64_t blocks_at_once = 128 / sizeof(T);

/// How values are divided by their block's divisor.
enum class quotient { refined, divided };

/// The largest magnitude of blocks whose values may be divided as `quotient::refined`; negative where none may. Divisors are
/// products (or quotients) of a tensor scale and e4m3 scales, so they have eight mantissas. A block's largest value is at most
/// nine times its divisor, unless its scale is the largest there is.
template <class Dialect>
float refined_amax(float tensor_scale) noexcept {
  float const least = Dialect::block_multiplier(0x1p-9f, tensor_scale), most = Dialect::block_multiplier(448.0f, tensor_scale);
  bool serves = least >= block_quotient::least && most <= block_quotient::most;
  for (float scale = 8; scale < 16; ++scale) {
    float const divisor = Dialect::block_multiplier(scale, tensor_scale);
    serves &= block_quotient::serves(divisor, divisor);
  }
  if (std::is_same_v<Dialect, modelopt>) return serves ? 16.0f * most : -1.0f;
  // Divisors above a half make zero of subnormals, and their quotients' sign, which compressed-tensors codes, is lost.
  return serves && tensor_scale >= 0.25f ? std::min(16.0f * most, 2.7f) : -1.0f;
}

/// What `round_to_e2m1` adds to the power of two below a magnitude.
inline constexpr int e2m1_rounding_step = (22 << 23) + 6;

/// The same for e4m3, whose steps are 2^-3 of that power, 2^-6 at least: the sum ends in the number of steps n = 0..16, and the
/// code is n + 48 + 8 * (log2 of the power). Now the 152 make that n + 152 + 8 * (exponent of the sum), modulo 256.
inline constexpr int e4m3_rounding_step = (20 << 23) + 152;

/// Where `pack_avx2` and `pack_avx512` may be used: the tensor's scale, and the largest magnitude in it.
template <class Dialect>
bool pack_range(float tensor_scale, float amax) noexcept {
  if (!(tensor_scale >= 0x1p-100f && tensor_scale <= 0x1p100f)) return false;
  if constexpr (std::is_same_v<Dialect, modelopt>) return amax <= tensor_scale * 0x1p20f;
  return amax <= 0x1p20f / tensor_scale;
}

/// Asks for as many blocks further on as take memory's answer to come; the hardware's own guesses do not keep up with two passes
/// over each group of blocks.
template <int blocks, class T>
inline __attribute__((always_inline)) void ask_for_values(T const* x) noexcept {
  constexpr std::size_t ahead = sizeof(T) == 4 ? 208 : 112;
  auto const* const from = reinterpret_cast<char const*>(x) + ahead * 16 * sizeof(T);
  CULL_UNROLL(4)
  for (std::size_t at = 0; at < 16 * blocks * sizeof(T); at += 64) _mm_prefetch(from + at, _MM_HINT_T1);
}

/// Where codes of `blocks_at_once` are written: in place, or beside it and from there past the caches, so that no line is read
/// before it is written. Places of those are multiples of 16 bytes, in address and size.
template <class T>
class code_place {
 public:
  explicit code_place(bool streamed) noexcept : streamed_(streamed) {}

  inline __attribute__((always_inline)) std::uint8_t* begin(std::uint8_t* codes) noexcept { return streamed_ ? beside_ : codes; }
  inline __attribute__((always_inline)) void end(std::uint8_t* codes, std::int64_t bytes) const noexcept {
    for (std::int64_t i = 0; streamed_ && i < bytes; i += 16)
      _mm_stream_si128(reinterpret_cast<__m128i*>(codes + i), _mm_load_si128(reinterpret_cast<__m128i const*>(beside_ + i)));
  }

 private:
  alignas(64) std::uint8_t beside_[8 * blocks_at_once<T>];
  bool streamed_;
};

struct pack_avx2 {
  static constexpr std::int64_t unit = 8;

  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) __m256 load(float const* x) noexcept {
    return _mm256_loadu_ps(x);
  }
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) __m256 load(std::uint16_t const* x) noexcept {
    auto const words = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<__m128i const*>(x)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
  }

  /// Bits of the largest magnitude of a row, which orders NaN above infinity above numbers.
  template <class T>
  CULL_TARGET_AVX2 static std::uint32_t amax_bits(T const* x, std::int64_t blocks) noexcept {
    auto most = _mm256_setzero_si256(), other = most;
    for (std::int64_t b = 0; b < blocks; ++b, x += 16) {
      most = _mm256_max_epi32(most, magnitude(load(x)));
      other = _mm256_max_epi32(other, magnitude(load(x + 8)));
    }
    return largest(_mm256_max_epi32(most, other));
  }

  /// A row of `blocks`, a multiple of the unit; returns `amax_bits` of it.
  template <class Dialect, class T>
  CULL_TARGET_AVX2 static std::uint32_t row(T const* x, std::int64_t blocks, float tensor_scale, packed_target to) noexcept {
    code_place<T> place{to.streamed};
    auto most = _mm256_setzero_si256();
    auto const limit = _mm256_castps_si256(_mm256_set1_ps(refined_amax<Dialect>(tensor_scale)));
    alignas(32) float divisors[blocks_at_once<T>];
    for (std::int64_t first = 0; first < blocks; first += blocks_at_once<T>) {
      auto const last = first + blocks_at_once<T> < blocks ? first + blocks_at_once<T> : blocks;
      auto group = _mm256_setzero_si256();
      for (std::int64_t b = first; b < last; b += 8) {
        auto const amax = amax_of_8(x + 16 * b);
        group = _mm256_max_epi32(group, amax);
        _mm256_store_ps(divisors + (b - first), scales_of_8<Dialect>(_mm256_castsi256_ps(amax), tensor_scale, to.scales + b));
      }
      most = _mm256_max_epi32(most, group);
      auto* const codes = place.begin(to.codes + 8 * first);
      if (_mm256_movemask_epi8(_mm256_cmpgt_epi32(group, limit)) == 0)
        codes_of<Dialect, quotient::refined>(x + 16 * first, last - first, divisors, codes);
      else
        codes_of<Dialect, quotient::divided>(x + 16 * first, last - first, divisors, codes);
      place.end(to.codes + 8 * first, 8 * (last - first));
    }
    return largest(most);
  }

 private:
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) __m256i magnitude(__m256 v) noexcept {
    return _mm256_and_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x7fffffff));
  }
  CULL_TARGET_AVX2 static std::uint32_t largest(__m256i v) noexcept {
    auto half = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0x4e));
    half = _mm_max_epi32(half, _mm_shuffle_epi32(half, 0xb1));
    return static_cast<std::uint32_t>(_mm_cvtsi128_si32(half));
  }
  template <class T>
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) __m256i amax_of_1(T const* x) noexcept {
    return _mm256_max_epi32(magnitude(load(x)), magnitude(load(x + 8)));
  }
  /// The larger of neighbours: of a in the even, of b in the odd pairs of lanes.
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) __m256i pairs(__m256i a, __m256i b) noexcept {
    return _mm256_max_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
  }
  template <class T>
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) __m256i amax_of_8(T const* x) noexcept {
    __m256i quads[2];
    CULL_UNROLL(2)
    for (int i = 0; i < 2; ++i) {
      auto const* const from = x + 64 * i;
      auto const a = pairs(amax_of_1(from), amax_of_1(from + 16)), b = pairs(amax_of_1(from + 32), amax_of_1(from + 48));
      quads[i] = _mm256_max_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
    }
    return _mm256_max_epi32(_mm256_permute2x128_si256(quads[0], quads[1], 0x20),
                            _mm256_permute2x128_si256(quads[0], quads[1], 0x31));
  }

  /// Writes eight scales; returns what values are divided by.
  template <class Dialect>
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) __m256 scales_of_8(__m256 amax, float tensor_scale,
                                                                                   std::uint8_t* scales) noexcept {
    auto const own = _mm256_set1_ps(tensor_scale);
    __m256 wanted;
    if constexpr (std::is_same_v<Dialect, modelopt>) {
      wanted = _mm256_div_ps(amax, _mm256_set1_ps(6.0f * tensor_scale));
      wanted = _mm256_blendv_ps(wanted, _mm256_set1_ps(1.0f), _mm256_cmp_ps(wanted, _mm256_setzero_ps(), _CMP_EQ_OQ));
      wanted = _mm256_max_ps(wanted, _mm256_set1_ps(0x1p-9f));
    } else {
      wanted = _mm256_mul_ps(own, _mm256_div_ps(amax, _mm256_set1_ps(6.0f)));
    }
    wanted = _mm256_min_ps(wanted, _mm256_set1_ps(448.0f));
    auto const power = _mm256_max_epi32(_mm256_and_si256(_mm256_castps_si256(wanted), _mm256_set1_epi32(0x7f800000)),
                                        _mm256_castps_si256(_mm256_set1_ps(0x1p-6f)));
    auto const large = _mm256_castsi256_ps(_mm256_add_epi32(power, _mm256_set1_epi32(e4m3_rounding_step)));
    auto const sum = _mm256_add_ps(wanted, large);
    auto const word = _mm256_castps_si256(sum);
    auto code = _mm256_and_si256(_mm256_add_epi32(word, _mm256_srli_epi32(word, 20)), _mm256_set1_epi32(0xff));
    auto scale = _mm256_sub_ps(sum, large);
    if constexpr (!std::is_same_v<Dialect, modelopt>) {
      auto const none = _mm256_cmp_ps(scale, _mm256_setzero_ps(), _CMP_EQ_OQ);
      code = _mm256_blendv_epi8(code, _mm256_set1_epi32(0x20), _mm256_castps_si256(none));
      scale = _mm256_blendv_ps(scale, _mm256_set1_ps(0.125f), none);
    }
    auto const words = _mm256_packus_epi32(code, code);
    auto const bytes = _mm256_packus_epi16(words, words);
    auto const eight = _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(scales), _mm256_castsi256_si128(eight));
    return std::is_same_v<Dialect, modelopt> ? _mm256_mul_ps(scale, own) : _mm256_div_ps(scale, own);
  }

  template <class Dialect, quotient How, class T>
  CULL_TARGET_AVX2 static void codes_of(T const* x, std::int64_t blocks, float const* divisors, std::uint8_t* codes) noexcept {
    alignas(32) float reciprocals[blocks_at_once<T>];
    for (std::int64_t b = 0; How == quotient::refined && b < blocks; b += 8)
      _mm256_store_ps(reciprocals + b, _mm256_div_ps(_mm256_set1_ps(1.0f), _mm256_load_ps(divisors + b)));
    float const* const over_one = How == quotient::refined ? reciprocals : divisors;
    for (std::int64_t b = 0; b < blocks; b += 2, x += 32, codes += 16) {
      ask_for_values<2>(x);
      __m256i of[4];
      CULL_UNROLL(4)
      for (int i = 0; i < 4; ++i) of[i] = codes_of_8<Dialect, How>(load(x + 8 * i), divisors[b + i / 2], over_one[b + i / 2]);
      auto const first = _mm256_packs_epi32(of[0], of[1]), second = _mm256_packs_epi32(of[2], of[3]);
      // Lanes of four: a0-3 b0-3 c0-3 d0-3, then a4-7 and so on.
      auto const bytes = _mm256_maddubs_epi16(_mm256_packs_epi16(first, second), _mm256_set1_epi16(0x1001));
      auto const packed = _mm256_packus_epi16(bytes, bytes);
      auto const low = _mm256_castsi256_si128(packed), high = _mm256_extracti128_si256(packed, 1);
      _mm_storeu_si128(reinterpret_cast<__m128i*>(codes), _mm_unpacklo_epi16(low, high));
    }
  }
  /// `round_to_e2m1` of quotients.
  template <class Dialect, quotient How>
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) __m256i codes_of_8(__m256 x, float over,
                                                                                   float over_one) noexcept {
    auto const zero = _mm256_setzero_ps(), divisor = _mm256_set1_ps(over), reciprocal = _mm256_set1_ps(over_one);
    __m256 q, sign;
    if constexpr (How == quotient::refined) {
      q = _mm256_fmadd_ps(x, reciprocal, zero);
      sign = q = _mm256_fmadd_ps(_mm256_fnmadd_ps(q, divisor, x), reciprocal, q);
    } else {
      q = _mm256_div_ps(x, divisor);
      auto const has_sign = std::is_same_v<Dialect, modelopt> ? x : q;  // the quotient may have underflowed
      sign = _mm256_add_ps(has_sign, zero);                             // -0 has none
    }
    auto const a = _mm256_min_ps(_mm256_and_ps(q, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff))), _mm256_set1_ps(6.0f));
    auto const power =
        _mm256_max_epi32(_mm256_and_si256(_mm256_castps_si256(a), _mm256_set1_epi32(0x7f800000)), _mm256_set1_epi32(0x3f800000));
    auto const large = _mm256_castsi256_ps(_mm256_add_epi32(power, _mm256_set1_epi32(e2m1_rounding_step)));
    auto const sum = _mm256_castps_si256(_mm256_add_ps(a, large));
    auto const code = _mm256_and_si256(_mm256_add_epi32(sum, _mm256_srli_epi32(sum, 22)), _mm256_set1_epi32(7));
    return _mm256_or_si256(code, _mm256_and_si256(_mm256_srli_epi32(_mm256_castps_si256(sign), 28), _mm256_set1_epi32(8)));
  }
};

}  // namespace detail

CULL_NAMESPACE_END

#endif
