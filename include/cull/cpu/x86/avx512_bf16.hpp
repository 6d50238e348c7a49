// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <cstring>

#include <cull/config.hpp>
#include <cull/cpu/x86/avx512.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// Products of bf16 pairs summed in f32 (vdpbf16ps) in tiles of 4 tokens by 6 rows. Of every 32 columns each eight words take
/// every fourth one, which is how 32 codes, broadcast and shifted, lie in them.
struct avx512_bf16_kernel {
  using element = std::uint16_t;
  static constexpr int tokens = 4;
  static constexpr int rows = 6;
  static constexpr std::int64_t group = 32;
  static constexpr std::int64_t chunk = 2048;
  static constexpr std::int64_t few_tokens = 64;
  static constexpr std::int64_t direct_tokens = 8;  // up to which rows are decoded in registers

  /// `size` values, a multiple of the group, rounded to bf16 and in the kernel's order.
  CULL_TARGET_AVX512_BF16 static void pack(float const* values, std::int64_t size, std::uint16_t* out) noexcept {
    for (std::int64_t k = 0; k < size; k += group) {
      auto const words = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(values + k + 16), _mm512_loadu_ps(values + k));
      _mm512_store_si512(out + k, ordered((__m512i)words));
    }
  }

  /// A piece of an NVFP4 row, likewise: products of code and block scale, which bf16 holds exactly.
  CULL_TARGET_AVX512_BF16 static void decode_nvfp4(std::uint8_t const* codes, std::uint8_t const* scales, std::int64_t size,
                                                   std::int64_t ahead, std::uint16_t* out) noexcept {
    std::int64_t k = 0;
    for (; k + 128 <= size; k += 128) {
      ask_ahead(k, codes + k / 2, scales + k / 16, ahead);
      CULL_UNROLL(4)
      for (int i = 0; i < 4; ++i) _mm512_store_si512(out + k + 32 * i, unpack(codes + k / 2 + 16 * i, scales + k / 16 + 2 * i));
    }
    for (; k < size; k += group) _mm512_store_si512(out + k, unpack(codes + k / 2, scales + k / 16));
  }

  /// Two blocks of 16 values, each times its scale: one permutation of both scales' products.
  CULL_TARGET_AVX512_BF16 static inline __attribute__((always_inline)) __m512i unpack(std::uint8_t const* codes,
                                                                                      std::uint8_t const* scales) noexcept {
    constexpr std::int64_t second = 0x0020002000200020;  // words 4 to 7 of every eight are of the second block
    auto const block = _mm512_set_epi64(second, 0, second, 0, second, 0, second, 0);
    auto const shifts = _mm512_set_epi64(0x000c000c000c000c, 0x000c000c000c000c, 0x0008000800080008, 0x0008000800080008,
                                         0x0004000400040004, 0x0004000400040004, 0, 0);
    auto const bytes = _mm512_maskz_broadcast_i32x4(0xffff, _mm_loadu_si128(reinterpret_cast<__m128i const*>(codes)));
    auto const shifted = _mm512_srlv_epi16(bytes, shifts);
    auto const index = _mm512_ternarylogic_epi64(shifted, _mm512_set1_epi16(15), block, 0xea);  // (shifted & 15) | block
    auto const* const table = bf16_of_scaled_codes.values;
    auto const first = _mm256_load_si256(reinterpret_cast<__m256i const*>(table[scales[0]]));
    auto const other = _mm256_load_si256(reinterpret_cast<__m256i const*>(table[scales[1]]));
    return _mm512_permutex2var_epi16(_mm512_castsi256_si512(first), index, _mm512_castsi256_si512(other));
  }

  /// Products of one to eight tokens with a strip's rows as they are stored, decoded in registers: what `multiply` makes of all
  /// chunks. `x_step`: elements from a token's chunk to its next.
  CULL_TARGET_AVX512_BF16 static void multiply_packed(std::uint16_t const* const* x, int count, std::int64_t x_step,
                                                      packed_strip const& w, std::int64_t columns, float* sums) noexcept {
    switch (count) {
      case 1:
        return multiply_rows<1>(x, x_step, w, columns, sums);
      case 2:
        return multiply_rows<2>(x, x_step, w, columns, sums);
      case 3:
        return multiply_rows<3>(x, x_step, w, columns, sums);
      case 4:
        return multiply_rows<4>(x, x_step, w, columns, sums);
      default:
        multiply_eight(x, x_step, w, columns, sums);
        return multiply_eight(x, x_step, w.from_row(3), columns, sums + 3);
    }
  }

  /// A piece of a bf16 row at any alignment, likewise.
  CULL_TARGET_AVX512_BF16 static void reorder(unsigned char const* values, std::int64_t size, std::uint16_t* out) noexcept {
    for (std::int64_t k = 0; k < size; k += group) _mm512_store_si512(out + k, ordered(_mm512_loadu_si512(values + 2 * k)));
  }

  /// `sums[t * rows + r]` = (or, not `first`, +=) the product of token t and row r over `size` columns.
  CULL_TARGET_AVX512_BF16 static void multiply(std::uint16_t const* x, std::int64_t x_stride, std::uint16_t const* w,
                                               std::int64_t w_stride, std::int64_t size, float* sums, bool first) noexcept {
    __m512 a[tokens * rows];
    CULL_UNROLL(24)
    for (int i = 0; i < tokens * rows; ++i) a[i] = _mm512_setzero_ps();
    for (std::int64_t k = 0; k < size; k += 32) {
      __m512i row[rows];
      CULL_UNROLL(6)
      for (int r = 0; r < rows; ++r) row[r] = _mm512_load_si512(w + r * w_stride + k);
      CULL_UNROLL(4)
      for (int t = 0; t < tokens; ++t) {
        auto const token = _mm512_load_si512(x + t * x_stride + k);
        CULL_UNROLL(6)
        for (int r = 0; r < rows; ++r) a[t * rows + r] = _mm512_dpbf16_ps(a[t * rows + r], (__m512bh)token, (__m512bh)row[r]);
      }
    }
    avx512_kernel::store_sums(a, sums, first);
  }

 private:
  template <int T>
  CULL_TARGET_AVX512_BF16 static inline __attribute__((always_inline)) void multiply_rows(
      std::uint16_t const* const* x, std::int64_t x_step, packed_strip const& w, std::int64_t columns, float* sums) noexcept {
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
        __m512i token[T];
        CULL_UNROLL(4)
        for (int t = 0; t < T; ++t) token[t] = _mm512_load_si512(x[t] + at + k);
        CULL_UNROLL(6)
        for (int r = 0; r < rows; ++r) {
          auto const row =
              unpack((r < 3 ? codes : more_codes) + r % 3 * w.code_step, (r < 3 ? scales : more_scales) + r % 3 * w.scale_step);
          CULL_UNROLL(4)
          for (int t = 0; t < T; ++t) a[t * rows + r] = _mm512_dpbf16_ps(a[t * rows + r], (__m512bh)token[t], (__m512bh)row);
        }
        codes += group / 2, more_codes += group / 2, scales += group / 16, more_scales += group / 16;
      }
      avx512_kernel::store_lane_sums<T>(a, sums, first == 0);
    }
  }
  CULL_TARGET_AVX512_BF16 static inline __attribute__((always_inline)) void store_eight(__m512 const* a, float* sums,
                                                                                        bool first) noexcept {
    alignas(64) float finished[24];
    _mm512_store_ps(finished, lane_sums_16(a));
    _mm512_mask_storeu_ps(finished + 16, 0xff, lane_sums_8(a + 16));
    for (int i = 0; i < 24; ++i) {
      float& to = sums[i / 3 * rows + i % 3];
      to = first ? finished[i] : to + finished[i];
    }
  }
  /// Eight tokens, of two tiles, with three rows: as many sums as there are registers for.
  CULL_TARGET_AVX512_BF16 static void multiply_eight(std::uint16_t const* const* x, std::int64_t x_step, packed_strip const& w,
                                                     std::int64_t columns, float* sums) noexcept {
    auto const stride = x[1] - x[0];
    for (std::int64_t first = 0, at = 0; first < columns; first += chunk, at += x_step) {
      __m512 a[24];
      CULL_UNROLL(24)
      for (int i = 0; i < 24; ++i) a[i] = _mm512_setzero_ps();
      auto const last = columns - first < chunk ? columns : first + chunk;
      for (std::int64_t k = first; k < last; k += group) {
        auto const *codes = w.codes + k / 2, *scales = w.scales + k / 16;
        if (k % 128 == 0) ask_ahead<3>(w, k, codes, scales);
        __m512i row[3];
        CULL_UNROLL(3)
        for (int r = 0; r < 3; ++r) row[r] = unpack(codes + r * w.code_step, scales + r * w.scale_step);
        CULL_UNROLL(8)
        for (int t = 0; t < 8; ++t) {
          auto const token = _mm512_load_si512(x[t / 4 * 4] + t % 4 * stride + at + (k - first));
          CULL_UNROLL(3)
          for (int r = 0; r < 3; ++r) a[3 * t + r] = _mm512_dpbf16_ps(a[3 * t + r], (__m512bh)token, (__m512bh)row[r]);
        }
      }
      store_eight(a, sums, first == 0);
    }
  }
  CULL_TARGET_AVX512_BF16 static inline __attribute__((always_inline)) __m512i ordered(__m512i words) noexcept {
    auto const order = _mm512_set_epi16(31, 27, 23, 19, 15, 11, 7, 3, 30, 26, 22, 18, 14, 10, 6, 2, 29, 25, 21, 17, 13, 9, 5, 1,
                                        28, 24, 20, 16, 12, 8, 4, 0);
    return _mm512_maskz_permutexvar_epi16(0xffffffff, order, words);
  }
};

}  // namespace detail

CULL_NAMESPACE_END

#endif
