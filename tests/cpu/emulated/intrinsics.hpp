// SPDX-License-Identifier: Apache-2.0
// Intrinsics that SIMD Everywhere 0.7.4 lacks, and those that it rounds twice, by Intel's description of their instructions.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace emulated {

template <class T, std::size_t size>
using lanes = std::array<T, size>;

template <class T, class V>
lanes<T, sizeof(V) / sizeof(T)> of(V const& v) {
  return std::bit_cast<lanes<T, sizeof(V) / sizeof(T)>>(v);
}

/// Lane i is f(i), or 0 where its bit of the mask is not set.
template <class V, class T, class F>
V made(std::uint64_t mask, F f) {
  lanes<T, sizeof(V) / sizeof(T)> out{};
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = mask >> i & 1u ? static_cast<T>(f(i)) : T{};
  return std::bit_cast<V>(out);
}
template <class V, class T, class F>
V made(F f) {
  return made<V, T>(~std::uint64_t{0}, f);
}

/// a * b + c with one rounding; `sign` is that of a.
template <class V>
V fmadd(V const& a, V const& b, V const& c, float sign = 1.0f) {
  auto const x = of<float>(a), y = of<float>(b), z = of<float>(c);
  return made<V, float>([&](std::size_t i) { return std::fma(sign * x[i], y[i], z[i]); });
}

inline float widened(std::uint16_t bits) { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
inline std::uint16_t narrowed(float value) {
  auto const word = std::bit_cast<std::uint32_t>(value);
  if ((word & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((word >> 16) | 0x40u);
  if ((word & 0x7f800000u) == 0) return static_cast<std::uint16_t>((word >> 16) & 0x8000u);  // subnormals count as zeros
  return static_cast<std::uint16_t>((word + 0x7fffu + (word >> 16 & 1u)) >> 16);
}
inline float flushed(float value) { return std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.0f, value) : value; }

/// Of each pair the odd product first, each added with one rounding; subnormals count as zeros.
inline __m512 dpbf16(__m512 sum, __m512bh a, __m512bh b) {
  auto const x = of<std::uint16_t>(a), y = of<std::uint16_t>(b);
  auto const z = of<float>(sum);
  return made<__m512, float>([&](std::size_t i) {
    auto const odd = std::fma(flushed(widened(x[2 * i + 1])), flushed(widened(y[2 * i + 1])), flushed(z[i]));
    return flushed(std::fma(flushed(widened(x[2 * i])), flushed(widened(y[2 * i])), flushed(odd)));
  });
}
/// The second operand comes first.
inline __m512bh cvtne2ps_pbh(__m512 a, __m512 b) {
  auto const x = of<float>(a), y = of<float>(b);
  return made<__m512bh, std::uint16_t>([&](std::size_t i) { return narrowed(i < 16 ? y[i] : x[i - 16]); });
}

template <class T, class F>
__m512i each(std::uint64_t mask, __m512i a, F f) {
  auto const x = of<T>(a);
  return made<__m512i, T>(mask, [&](std::size_t i) { return f(x[i]); });
}
template <class T>
__m512i left(std::uint64_t mask, __m512i a, unsigned n) {
  return each<T>(mask, a, [n](T x) { return n < 8 * sizeof(T) ? x << n : T{}; });
}
template <class T>
__m512i right(std::uint64_t mask, __m512i a, unsigned n) {
  return each<T>(mask, a, [n](T x) { return n < 8 * sizeof(T) ? x >> n : T{}; });
}
inline __m512i right_by(std::uint64_t mask, __m512i a, __m512i count) {
  auto const x = of<std::uint64_t>(a), n = of<std::uint64_t>(count);
  return made<__m512i, std::uint64_t>(mask, [&](std::size_t i) { return n[i] < 64 ? x[i] >> n[i] : 0; });
}
template <class T, class From>
__m512i widened_bytes(std::uint64_t mask, From a) {
  auto const x = of<std::uint8_t>(a);
  return made<__m512i, T>(mask, [&](std::size_t i) { return x[i]; });
}

/// Two quarters of each operand, picked by two bits each.
template <class V>
V quarters(V a, V b, unsigned pick) {
  auto const x = of<std::uint32_t>(a), y = of<std::uint32_t>(b);
  return made<V, std::uint32_t>([&](std::size_t i) {
    auto const from = 4 * (pick >> i / 4 * 2 & 3u) + i % 4;
    return i < 8 ? x[from] : y[from];
  });
}

inline __m512i right_by_32(std::uint64_t mask, __m512i a, __m512i count) {
  auto const x = of<std::uint32_t>(a), n = of<std::uint32_t>(count);
  return made<__m512i, std::uint32_t>(mask, [&](std::size_t i) { return n[i] < 32 ? x[i] >> n[i] : 0; });
}
inline __m512i widened_words(std::uint64_t mask, __m256i a) {
  auto const x = of<std::uint16_t>(a);
  return made<__m512i, std::uint32_t>(mask, [&](std::size_t i) { return x[i]; });
}
inline __m128i low_bytes(std::uint64_t mask, __m512i a) {
  auto const x = of<std::uint32_t>(a);
  return made<__m128i, std::uint8_t>(mask, [&](std::size_t i) { return x[i] & 0xffu; });
}
inline __m256i low_words(std::uint64_t mask, __m512i a) {
  auto const x = of<std::uint32_t>(a);
  return made<__m256i, std::uint16_t>(mask, [&](std::size_t i) { return x[i] & 0xffffu; });
}
/// Of every four lanes two of each operand, picked by two bits each.
inline __m512 lanes_of_fours(__m512 a, __m512 b, unsigned pick) {
  auto const x = of<std::uint32_t>(a), y = of<std::uint32_t>(b);
  return made<__m512, std::uint32_t>([&](std::size_t i) {
    auto const from = i / 4 * 4 + (pick >> i % 4 * 2 & 3u);
    return i % 4 < 2 ? x[from] : y[from];
  });
}
inline __m512 as_floats(__m512i a) {
  auto const x = of<std::int32_t>(a);
  return made<__m512, float>([&](std::size_t i) { return static_cast<float>(x[i]); });
}
inline __m512 of_halves(__m256i a) {
  auto const x = of<std::uint16_t>(a);
  return made<__m512, float>([&](std::size_t i) {
    int const exponent = x[i] >> 10 & 31, mantissa = x[i] & 1023;
    float size = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                               : std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
    if (exponent == 31) size = mantissa == 0 ? INFINITY : NAN;
    return x[i] & 0x8000u ? -size : size;
  });
}
inline __m512i load_bytes(std::uint64_t mask, std::uint8_t const* from) {
  return made<__m512i, std::uint8_t>(mask, [&](std::size_t i) { return from[i]; });
}
inline __m512i of_two_tables(__m512i a, __m512i index, __m512i b) {
  auto const x = of<std::uint16_t>(a), y = of<std::uint16_t>(b), at = of<std::uint16_t>(index);
  return made<__m512i, std::uint16_t>([&](std::size_t i) { return (at[i] & 32u ? y : x)[at[i] & 31u]; });
}
inline __m512i of_two_byte_tables(__m512i a, __m512i index, __m512i b) {
  auto const x = of<std::uint8_t>(a), y = of<std::uint8_t>(b), at = of<std::uint8_t>(index);
  return made<__m512i, std::uint8_t>([&](std::size_t i) { return (at[i] & 64u ? y : x)[at[i] & 63u]; });
}
/// Stops where the hardware would fault.
inline void stream(void* to, __m512i a) {
  if (reinterpret_cast<std::uintptr_t>(to) % 64 != 0) std::abort();
  std::memcpy(to, &a, 64);
}

inline __m512 load(std::uint64_t mask, float const* from) {
  return made<__m512, float>(mask, [&](std::size_t i) { return from[i]; });
}
inline void store(float* to, std::uint64_t mask, __m512 a) {
  auto const x = of<float>(a);
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (mask >> i & 1u) to[i] = x[i];
  }
}
inline std::uint8_t less(__m512i a, __m512i b) {
  auto const x = of<std::int64_t>(a), y = of<std::int64_t>(b);
  unsigned out = 0;
  for (std::size_t i = 0; i < x.size(); ++i) out |= static_cast<unsigned>(x[i] < y[i]) << i;
  return static_cast<std::uint8_t>(out);
}

}  // namespace emulated

using __mmask8 = std::uint8_t;
using __mmask16 = std::uint16_t;
using __mmask32 = std::uint32_t;
using __mmask64 = std::uint64_t;

#undef _mm512_fmadd_ps
#undef _mm256_fmadd_ps
#undef _mm512_fnmadd_ps
#undef _mm256_fnmadd_ps
#undef _mm512_dpbf16_ps
#define _mm512_fmadd_ps(a, b, c) emulated::fmadd(a, b, c)
#define _mm256_fmadd_ps(a, b, c) emulated::fmadd(a, b, c)
#define _mm512_fnmadd_ps(a, b, c) emulated::fmadd(a, b, c, -1.0f)
#define _mm256_fnmadd_ps(a, b, c) emulated::fmadd(a, b, c, -1.0f)
#define _mm512_dpbf16_ps(sum, a, b) emulated::dpbf16(sum, a, b)
#define _mm512_cvtne2ps_pbh(a, b) emulated::cvtne2ps_pbh(a, b)
#define _mm512_maskz_loadu_ps(mask, from) emulated::load(mask, from)
#define _mm512_mask_storeu_ps(to, mask, a) emulated::store(to, mask, a)
#define _mm512_cmplt_epi64_mask(a, b) emulated::less(a, b)
#define _mm512_maskz_cvtepu8_epi32(mask, a) emulated::widened_bytes<std::uint32_t>(mask, a)
#define _mm512_maskz_slli_epi16(mask, a, n) emulated::left<std::uint16_t>(mask, a, n)
#define _mm512_maskz_srli_epi16(mask, a, n) emulated::right<std::uint16_t>(mask, a, n)
#define _mm512_maskz_slli_epi32(mask, a, n) emulated::left<std::uint32_t>(mask, a, n)
#define _mm512_maskz_slli_epi64(mask, a, n) emulated::left<std::uint64_t>(mask, a, n)
#define _mm512_maskz_srai_epi64(mask, a, n) emulated::right<std::int64_t>(mask, a, n)
#define _mm512_maskz_srli_epi32(mask, a, n) emulated::right<std::uint32_t>(mask, a, n)
#define _mm512_maskz_srli_epi64(mask, a, n) emulated::right<std::uint64_t>(mask, a, n)
#define _mm512_maskz_srlv_epi64(mask, a, n) emulated::right_by(mask, a, n)
#define _mm512_maskz_shuffle_f32x4(mask, a, b, pick) (static_cast<void>(mask), emulated::quarters(a, b, pick))
#define _mm512_maskz_shuffle_i32x4(mask, a, b, pick) (static_cast<void>(mask), emulated::quarters(a, b, pick))
#define _mm512_maskz_srlv_epi32(mask, a, n) emulated::right_by_32(mask, a, n)
#define _mm512_maskz_cvtepu16_epi32(mask, a) emulated::widened_words(mask, a)
#define _mm512_maskz_cvtepi32_epi8(mask, a) emulated::low_bytes(mask, a)
#define _mm512_maskz_cvtepi32_epi16(mask, a) emulated::low_words(mask, a)
#undef _mm512_permutex2var_epi16
#undef _mm512_permutex2var_epi8
#define _mm512_permutex2var_epi16(a, index, b) emulated::of_two_tables(a, index, b)
#define _mm512_permutex2var_epi8(a, index, b) emulated::of_two_byte_tables(a, index, b)
#define _mm512_stream_si512(to, a) emulated::stream(to, a)
#define _mm512_maskz_shuffle_ps(mask, a, b, pick) (static_cast<void>(mask), emulated::lanes_of_fours(a, b, pick))
#define _mm512_maskz_cvtepi32_ps(mask, a) (static_cast<void>(mask), emulated::as_floats(a))
#define _mm512_maskz_cvtph_ps(mask, a) (static_cast<void>(mask), emulated::of_halves(a))
#define _mm512_maskz_loadu_epi8(mask, from) emulated::load_bytes(mask, from)
