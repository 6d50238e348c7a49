// SPDX-License-Identifier: Apache-2.0
// Rows of e2m1 codes with scale bytes as values in ascending order: each code times its block's factor, rounded as the scalar
// product is. `Block`: columns per scale byte, 16 or 32; `Store`: `cached_store` or `streamed_store`.
#pragma once

#include <cstdint>
#include <cstring>

#include <cull/config.hpp>
#include <cull/cpu/x86/tables.hpp>
#include <cull/cpu/x86/targets.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

struct cached_store {
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) void run(float* to, __m256 v) noexcept {
    _mm256_storeu_ps(to, v);
  }
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) void run(std::uint16_t* to, __m128i v) noexcept {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), v);
  }
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) void run(void* to, __m512i v) noexcept {
    _mm512_storeu_si512(to, v);
  }
};
/// Past the caches: no line is read before it is written. `to` on a vector's boundary.
struct streamed_store {
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) void run(float* to, __m256 v) noexcept {
    _mm256_stream_ps(to, v);
  }
  CULL_TARGET_AVX2 static inline __attribute__((always_inline)) void run(std::uint16_t* to, __m128i v) noexcept {
    _mm_stream_si128(reinterpret_cast<__m128i*>(to), v);
  }
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) void run(void* to, __m512i v) noexcept {
    _mm512_stream_si512(static_cast<__m512i*>(to), v);
  }
};

/// What rows are unpacked with, per scale byte: the factor, and for bf16 its 16 products, rounded.
struct unpack_tables {
  alignas(64) float factors[256];
  alignas(64) std::uint16_t products[256][16];  // on AVX2 their lower bytes, then their upper bytes
};

CULL_TARGET_AVX2 inline __m256i bf16_bits_avx2(__m256 values) noexcept {
  auto const words = _mm256_castps_si256(values);
  auto const odd = _mm256_and_si256(_mm256_srli_epi32(words, 16), _mm256_set1_epi32(1));
  auto const rounded = _mm256_add_epi32(_mm256_add_epi32(words, _mm256_set1_epi32(0x7fff)), odd);
  auto const quiet = _mm256_or_si256(words, _mm256_set1_epi32(0x400000));
  auto const nan = _mm256_castps_si256(_mm256_cmp_ps(values, values, _CMP_UNORD_Q));
  return _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
}

CULL_TARGET_AVX512 inline __attribute__((always_inline)) __m256i bf16_bits_avx512(__m512 values) noexcept {
  auto const words = _mm512_castps_si512(values);
  auto const odd = _mm512_and_si512(_mm512_maskz_srli_epi32(0xffff, words, 16), _mm512_set1_epi32(1));
  auto const rounded = _mm512_add_epi32(_mm512_add_epi32(words, _mm512_set1_epi32(0x7fff)), odd);
  auto const quiet = _mm512_or_si512(words, _mm512_set1_epi32(0x400000));
  auto const either = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q), quiet);
  return _mm512_maskz_cvtepi32_epi16(0xffff, _mm512_maskz_srli_epi32(0xffff, either, 16));
}

/// Ends a table of which the upper half is the lower with other signs: of 256 rows of 16 words.
CULL_TARGET_AVX2 inline void mirror(std::uint16_t* products, __m256i signs) noexcept {
  for (int scale = 0; scale < 128; ++scale, products += 16) {
    auto const row = _mm256_load_si256(reinterpret_cast<__m256i const*>(products));
    _mm256_store_si256(reinterpret_cast<__m256i*>(products + 128 * 16), _mm256_xor_si256(row, signs));
  }
}

struct unpack_avx2 {
  /// `products` [256, 16] of 256 factors, of which the upper half are the lower ones negated where they are `Signed`. Pointers,
  /// since g++ 12 drops the call where it sees the table's own type (ipa-modref).
  template <bool Signed>
  CULL_TARGET_AVX2 static void fill_products(float const* factors, std::uint16_t* products) noexcept {
    auto const low = _mm256_loadu_ps(e2m1_values.data()), high = _mm256_loadu_ps(e2m1_values.data() + 8);
    auto* out = products;
    for (int scale = 0; scale < (Signed ? 128 : 256); ++scale, out += 16) {
      auto const factor = _mm256_set1_ps(factors[scale]);
      auto const packed =
          _mm256_packus_epi32(bf16_bits_avx2(_mm256_mul_ps(low, factor)), bf16_bits_avx2(_mm256_mul_ps(high, factor)));
      auto const words = _mm256_permute4x64_epi64(packed, 0xd8);
      auto const bytes = _mm256_packus_epi16(_mm256_and_si256(words, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(words, 8));
      _mm256_store_si256(reinterpret_cast<__m256i*>(out), _mm256_permute4x64_epi64(bytes, 0xd8));
    }
    if constexpr (Signed) mirror(products, _mm256_setr_epi64x(0, 0, INT64_C(-0x7f7f7f7f7f7f7f80), INT64_C(-0x7f7f7f7f7f7f7f80)));
  }

  /// `pairs` pairs of 16 values.
  template <std::int64_t Block, class Store>
  CULL_TARGET_AVX2 static void run(std::uint8_t const* codes, std::uint8_t const* scales, unpack_tables const& tables,
                                   std::int64_t pairs, float* out) noexcept {
    auto const spread = _mm256_setr_epi8(0, 0, 1, 1, 4, 4, 5, 5, 8, 8, 9, 9, 12, 12, 13, 13,  //
                                         2, 2, 3, 3, 6, 6, 7, 7, 10, 10, 11, 11, 14, 14, 15, 15);
    auto const lower_bytes = _mm256_load_si256(reinterpret_cast<__m256i const*>(e2m1_bytes.lower));
    auto const upper_bytes = _mm256_load_si256(reinterpret_cast<__m256i const*>(e2m1_bytes.upper));
    auto const zero = _mm256_setzero_si256();
    for (std::int64_t p = 0; p < pairs; ++p, codes += 16, out += 32) {
      auto const raw = _mm_loadu_si128(reinterpret_cast<__m128i const*>(codes));
      auto const bytes = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(raw), spread);
      auto const nibbles = _mm256_or_si256(_mm256_and_si256(bytes, _mm256_set1_epi16(0x000f)),
                                           _mm256_and_si256(_mm256_srli_epi16(bytes, 4), _mm256_set1_epi16(0x0f00)));
      auto const lower = _mm256_shuffle_epi8(lower_bytes, nibbles), upper = _mm256_shuffle_epi8(upper_bytes, nibbles);
      auto const a = _mm256_unpacklo_epi8(lower, upper), b = _mm256_unpackhi_epi8(lower, upper);
      auto const first = _mm256_set1_ps(tables.factors[scales[Block == 16 ? 2 * p : p]]);
      auto const second = Block == 16 ? _mm256_set1_ps(tables.factors[scales[2 * p + 1]]) : first;
      Store::run(out, _mm256_mul_ps(_mm256_castsi256_ps(_mm256_unpacklo_epi16(zero, a)), first));
      Store::run(out + 8, _mm256_mul_ps(_mm256_castsi256_ps(_mm256_unpackhi_epi16(zero, a)), first));
      Store::run(out + 16, _mm256_mul_ps(_mm256_castsi256_ps(_mm256_unpacklo_epi16(zero, b)), second));
      Store::run(out + 24, _mm256_mul_ps(_mm256_castsi256_ps(_mm256_unpackhi_epi16(zero, b)), second));
    }
  }

  template <std::int64_t Block, class Store>
  CULL_TARGET_AVX2 static void run(std::uint8_t const* codes, std::uint8_t const* scales, unpack_tables const& tables,
                                   std::int64_t pairs, std::uint16_t* out) noexcept {
    for (std::int64_t p = 0; p < pairs; ++p, codes += 16, out += 32) {
      auto const words = _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<__m128i const*>(codes)));
      auto const nibbles = _mm256_and_si256(_mm256_or_si256(words, _mm256_slli_epi16(words, 4)), _mm256_set1_epi16(0x0f0f));
      auto const first = scales[Block == 16 ? 2 * p : p], second = Block == 16 ? scales[2 * p + 1] : first;
      auto const a = _mm256_load_si256(reinterpret_cast<__m256i const*>(tables.products[first]));
      auto const b = _mm256_load_si256(reinterpret_cast<__m256i const*>(tables.products[second]));
      auto const lower = _mm256_shuffle_epi8(_mm256_permute2x128_si256(a, b, 0x20), nibbles);
      auto const upper = _mm256_shuffle_epi8(_mm256_permute2x128_si256(a, b, 0x31), nibbles);
      auto const left = _mm256_unpacklo_epi8(lower, upper), right = _mm256_unpackhi_epi8(lower, upper);
      Store::run(out, _mm256_castsi256_si128(left));
      Store::run(out + 8, _mm256_castsi256_si128(right));
      Store::run(out + 16, _mm256_extracti128_si256(left, 1));
      Store::run(out + 24, _mm256_extracti128_si256(right, 1));
    }
  }
};

struct unpack_avx512 {
  template <bool Signed>
  CULL_TARGET_AVX512 static void fill_products(float const* factors, std::uint16_t* products) noexcept {
    auto const values = _mm512_loadu_ps(e2m1_values.data());
    auto* out = products;
    for (int scale = 0; scale < (Signed ? 128 : 256); ++scale, out += 16) {
      auto const bits = bf16_bits_avx512(_mm512_mul_ps(values, _mm512_set1_ps(factors[scale])));
      _mm256_store_si256(reinterpret_cast<__m256i*>(out), bits);
    }
    if constexpr (Signed) mirror(products, _mm256_set1_epi16(-0x8000));
  }

  template <std::int64_t Block, class Store>
  CULL_TARGET_AVX512 static void run(std::uint8_t const* codes, std::uint8_t const* scales, unpack_tables const& tables,
                                     std::int64_t pairs, float* out) noexcept {
    auto const shifts = _mm512_set_epi32(28, 24, 20, 16, 12, 8, 4, 0, 28, 24, 20, 16, 12, 8, 4, 0);
    auto const values = _mm512_loadu_ps(e2m1_values.data());
    for (std::int64_t b = 0; b < 2 * pairs; ++b, codes += 8, out += 16) {
      std::int32_t words[2];
      std::memcpy(words, codes, 8);
      auto const both = _mm512_mask_mov_epi32(_mm512_set1_epi32(words[0]), 0xff00, _mm512_set1_epi32(words[1]));
      // Only the low four bits of an index count.
      auto const value = _mm512_maskz_permutexvar_ps(0xffff, _mm512_maskz_srlv_epi32(0xffff, both, shifts), values);
      auto const factor = _mm512_set1_ps(tables.factors[scales[Block == 16 ? b : b / 2]]);
      Store::run(out, _mm512_castps_si512(_mm512_mul_ps(value, factor)));
    }
  }

  template <std::int64_t Block, class Store>
  CULL_TARGET_AVX512 static void run(std::uint8_t const* codes, std::uint8_t const* scales, unpack_tables const& tables,
                                     std::int64_t pairs, std::uint16_t* out) noexcept {
    auto const nibble = _mm512_set1_epi32(0x000f000f);
    auto const block =
        _mm512_set_epi64(0x0020002000200020, 0x0020002000200020, 0x0020002000200020, 0x0020002000200020, 0, 0, 0, 0);
    for (std::int64_t p = 0; p < pairs; ++p, codes += 16, out += 32) {
      auto const raw = _mm_loadu_si128(reinterpret_cast<__m128i const*>(codes));
      auto const bytes = _mm512_maskz_cvtepu8_epi32(0xffff, raw);
      auto const both = _mm512_or_si512(bytes, _mm512_maskz_slli_epi32(0xffff, bytes, 12));
      auto const index = _mm512_ternarylogic_epi64(both, nibble, block, 0xea);  // (both & nibble) | block
      auto const first = scales[Block == 16 ? 2 * p : p], second = Block == 16 ? scales[2 * p + 1] : first;
      auto const low = _mm256_load_si256(reinterpret_cast<__m256i const*>(tables.products[first]));
      auto const high = _mm256_load_si256(reinterpret_cast<__m256i const*>(tables.products[second]));
      Store::run(out, _mm512_permutex2var_epi16(_mm512_castsi256_si512(low), index, _mm512_castsi256_si512(high)));
    }
  }
};

}  // namespace detail

CULL_NAMESPACE_END

#endif
