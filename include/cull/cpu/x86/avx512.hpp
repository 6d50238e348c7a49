// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include <cull/config.hpp>
#include <cull/cpu/packed_rows.hpp>
#include <cull/cpu/x86/ask_ahead.hpp>
#include <cull/cpu/x86/reduce.hpp>
#include <cull/cpu/x86/tables.hpp>
#include <cull/cpu/x86/targets.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// f32 products on AVX-512: tiles of 4 tokens by 6 rows, one FMA chain per lane. Of every 16 columns lane 2i takes c(i) and
/// lane 2i + 1 takes c(i) + 8, c = 0 2 1 3 4 6 5 7: as AVX2, which unpacks bytes, and AVX-512, which shifts, can decode them.
struct avx512_kernel {
  using element = float;
  static constexpr int tokens = 4;
  static constexpr int rows = 6;
  static constexpr std::int64_t group = 16;  // columns in one permuted unit
  static constexpr std::int64_t chunk = 1024;
  static constexpr std::int64_t few_tokens = 64;     // all of whose chunks stay in L2, so that rows are read from end to end
  static constexpr std::int64_t direct_tokens = 16;  // up to which rows are decoded in registers

  /// `size` values, a multiple of the group, in the kernel's order.
  CULL_TARGET_AVX512 static void pack(float const* values, std::int64_t size, float* out) noexcept {
    for (std::int64_t k = 0; k < size; k += group) _mm512_storeu_ps(out + k, ordered(_mm512_loadu_ps(values + k)));
  }

  /// A piece of an NVFP4 row, likewise: products of code and block scale.
  CULL_TARGET_AVX512 static void decode_nvfp4(std::uint8_t const* codes, std::uint8_t const* scales, std::int64_t size,
                                              std::int64_t ahead, float* out) noexcept {
    std::int64_t k = 0;
    for (; k + 128 <= size; k += 128) {
      ask_ahead(k, codes + k / 2, scales + k / 16, ahead);
      CULL_UNROLL(8)
      for (int i = 0; i < 8; ++i) _mm512_storeu_ps(out + k + 16 * i, unpack(codes + k / 2 + 8 * i, scales[k / 16 + i]));
    }
    for (; k < size; k += group) _mm512_storeu_ps(out + k, unpack(codes + k / 2, scales[k / 16]));
  }

  /// A block's 16 values times its scale: one permutation of the scale's products.
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m512 unpack(std::uint8_t const* codes,
                                                                                std::uint8_t scale) noexcept {
    auto const shifts = _mm512_set_epi32(28, 28, 20, 20, 24, 24, 16, 16, 12, 12, 4, 4, 8, 8, 0, 0);
    std::int64_t word;
    std::memcpy(&word, codes, 8);
    // Only the low four bits of an index count.
    auto const index = _mm512_maskz_srlv_epi32(0xffff, _mm512_set1_epi64(word), shifts);
    return _mm512_maskz_permutexvar_ps(0xffff, index, _mm512_load_ps(f32_of_scaled_codes.values[scale]));
  }

  /// Products of one to sixteen tokens with a strip's rows as they are stored, decoded in registers: what `multiply` makes of all
  /// chunks. `x_step`: elements from a token's chunk to its next.
  CULL_TARGET_AVX512 static void multiply_packed(float const* const* x, int count, std::int64_t x_step, packed_strip const& w,
                                                 std::int64_t columns, float* sums) noexcept {
    switch (count) {
      case 1:
        return multiply_rows<1>(x, x_step, w, columns, sums);
      case 2:
        return multiply_rows<2>(x, x_step, w, columns, sums);
      case 3:
        return multiply_rows<3>(x, x_step, w, columns, sums);
      case 4:
        return multiply_rows<4>(x, x_step, w, columns, sums);
      default:  // decoding again costs less than writing what was decoded
        multiply_rows<4>(x, x_step, w, columns, sums);
        return multiply_packed(x + 4, count - 4, x_step, w, columns, sums + 4 * rows);
    }
  }

  /// A piece of a bf16 row at any alignment, likewise.
  CULL_TARGET_AVX512 static void reorder(unsigned char const* values, std::int64_t size, float* out) noexcept {
    for (std::int64_t k = 0; k < size; k += group) {
      auto const words = _mm256_loadu_si256(reinterpret_cast<__m256i const*>(values + 2 * k));
      auto const wide = _mm512_maskz_slli_epi32(0xffff, _mm512_maskz_cvtepu16_epi32(0xffff, words), 16);
      _mm512_storeu_ps(out + k, ordered(_mm512_castsi512_ps(wide)));
    }
  }

  /// `sums[t * rows + r]` = (or, not `first`, +=) the product of token t and row r over `size` columns.
  CULL_TARGET_AVX512 static void multiply(float const* x, std::int64_t x_stride, float const* w, std::int64_t w_stride,
                                          std::int64_t size, float* sums, bool first) noexcept {
    __m512 a[tokens * rows];
    CULL_UNROLL(24)
    for (int i = 0; i < tokens * rows; ++i) a[i] = _mm512_setzero_ps();
    for (std::int64_t k = 0; k < size; k += 16) {
      __m512 row[rows];
      CULL_UNROLL(6)
      for (int r = 0; r < rows; ++r) row[r] = _mm512_load_ps(w + r * w_stride + k);
      CULL_UNROLL(4)
      for (int t = 0; t < tokens; ++t) {
        auto const token = _mm512_load_ps(x + t * x_stride + k);
        CULL_UNROLL(6)
        for (int r = 0; r < rows; ++r) a[t * rows + r] = _mm512_fmadd_ps(token, row[r], a[t * rows + r]);
      }
    }
    store_sums(a, sums, first);
  }

  /// Of the lanes of each token and row; `a` has room for a multiple of eight.
  template <int T>
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) void store_lane_sums(__m512* a, float* sums,
                                                                                       bool first) noexcept {
    constexpr int used = T * rows;
    CULL_UNROLL(6)
    for (int i = used; i < (used + 7) / 8 * 8; ++i) a[i] = _mm512_setzero_ps();
    CULL_UNROLL(3)
    for (int i = 0; i < used; i += 8) add_sums(lane_sums_8(a + i), (1u << (used - i < 8 ? used - i : 8)) - 1, sums + i, first);
  }
  CULL_TARGET_AVX512 static void store_sums(__m512 const* a, float* sums, bool first) noexcept {
    add_sums(lane_sums_16(a), 0xffff, sums, first);
    add_sums(lane_sums_8(a + 16), 0xff, sums + 16, first);
  }

 private:
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) __m512 ordered(__m512 v) noexcept {
    auto const order = _mm512_set_epi32(15, 7, 13, 5, 14, 6, 12, 4, 11, 3, 9, 1, 10, 2, 8, 0);
    return _mm512_maskz_permutexvar_ps(0xffff, order, v);
  }
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) void add_sums(__m512 v, unsigned lanes, float* sums,
                                                                                bool first) noexcept {
    auto const mask = static_cast<__mmask16>(lanes);
    if (!first) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, sums));
    _mm512_mask_storeu_ps(sums, mask, v);
  }
  template <int T>
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) void multiply_rows(float const* const* x, std::int64_t x_step,
                                                                                     packed_strip const& w, std::int64_t columns,
                                                                                     float* sums) noexcept {
    static_assert(rows == 6);  // two pointers and a step reach each, so that none has to be fetched from the stack
    auto const *codes = w.codes, *more_codes = codes + 3 * w.code_step, *scales = w.scales,
               *more_scales = scales + 3 * w.scale_step;
    for (std::int64_t first = 0, at = 0; first < columns; first += chunk, at += x_step) {
      __m512 a[(T * rows + 7) / 8 * 8];
      CULL_UNROLL(24)
      for (int i = 0; i < T * rows; ++i) a[i] = _mm512_setzero_ps();
      auto const size = columns - first < chunk ? columns - first : chunk;
      for (std::int64_t k = 0; k < size; k += group) {
        if (k % 128 == 0) {
          ask_ahead<3>(w, k, codes, scales);
          ask_ahead<3>(w, k, more_codes, more_scales);
        }
        __m512 token[T];
        CULL_UNROLL(4)
        for (int t = 0; t < T; ++t) token[t] = _mm512_load_ps(x[t] + at + k);
        CULL_UNROLL(6)
        for (int r = 0; r < rows; ++r) {
          auto const row = unpack((r < 3 ? codes : more_codes) + r % 3 * w.code_step,
                                  *((r < 3 ? scales : more_scales) + r % 3 * w.scale_step));
          CULL_UNROLL(4)
          for (int t = 0; t < T; ++t) a[t * rows + r] = _mm512_fmadd_ps(token[t], row, a[t * rows + r]);
        }
        codes += group / 2, more_codes += group / 2, scales += group / 16, more_scales += group / 16;
      }
      store_lane_sums<T>(a, sums, first == 0);
    }
  }
};

}  // namespace detail

CULL_NAMESPACE_END

#endif
