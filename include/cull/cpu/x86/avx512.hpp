// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cpu/packed_rows.hpp>
#include <cull/cpu/x86/reduce.hpp>
#include <cull/cpu/x86/tables.hpp>
#include <cull/cpu/x86/targets.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// f32 products on AVX-512: tiles of 4 tokens by 6 rows, one FMA chain per lane; lane j takes columns 2j and then 2j + 1 of
/// every 32.
struct avx512_kernel {
  using element = float;
  static constexpr int tokens = 4;
  static constexpr int rows = 6;
  static constexpr std::int64_t group = 32;  // columns in one permuted unit: 16 even ones, 16 odd ones
  static constexpr std::int64_t chunk = 512;
  static constexpr int strips = 2;                // whose chunks stay in L1, 24 KiB
  static constexpr std::int64_t few_tokens = 64;  // all of whose chunks stay in L2, so that rows are read from end to end

  /// `size` values, a multiple of the group, in the kernel's order.
  CULL_TARGET_AVX512 static void pack(float const* values, std::int64_t size, float* out) noexcept {
    auto const even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    auto const odd = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    for (std::int64_t k = 0; k < size; k += group) {
      auto const a = _mm512_loadu_ps(values + k);
      auto const b = _mm512_loadu_ps(values + k + 16);
      _mm512_storeu_ps(out + k, _mm512_permutex2var_ps(a, even, b));
      _mm512_storeu_ps(out + k + 16, _mm512_permutex2var_ps(a, odd, b));
    }
  }

  /// A piece of an NVFP4 row, likewise: products of code and block scale.
  CULL_TARGET_AVX512 static void decode_nvfp4(std::uint8_t const* codes, std::uint8_t const* scales, std::int64_t size,
                                              std::int64_t ahead, float* out) noexcept {
    for (std::int64_t k = 0; k < size; k += group) {
      _mm_prefetch(reinterpret_cast<char const*>(codes + k / 2 + ahead), _MM_HINT_T0);
      __m512 values[2];
      unpack({codes + k / 2, scales + k / 16}, values);
      _mm512_storeu_ps(out + k, values[0]);
      _mm512_storeu_ps(out + k + 16, values[1]);
    }
  }

  /// Two blocks of 16 values, each times its scale: those of even columns, those of odd ones.
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) void unpack(packed_piece of, __m512* out) noexcept {
    auto const values = _mm512_loadu_ps(e2m1_values.data());
    auto const bytes = _mm512_maskz_cvtepu8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<__m128i const*>(of.codes)));
    auto const first = _mm512_set1_ps(e4m3_values[of.scales[0]]);
    auto const scale = _mm512_mask_mov_ps(first, 0xff00, _mm512_set1_ps(e4m3_values[of.scales[1]]));
    // Only the low four bits of an index count.
    auto const low = _mm512_maskz_permutexvar_ps(0xffff, bytes, values);
    auto const high = _mm512_maskz_permutexvar_ps(0xffff, _mm512_maskz_srli_epi32(0xffff, bytes, 4), values);
    out[0] = _mm512_mul_ps(low, scale);
    out[1] = _mm512_mul_ps(high, scale);
  }

  /// `multiply` for one to four tokens, rows as they are stored: decoded in registers, the same sums.
  CULL_TARGET_AVX512 static void multiply_packed(float const* const* x, int count, packed_piece const* w, std::int64_t size,
                                                 float* sums, bool first) noexcept {
    switch (count) {
      case 1:
        return multiply_rows<1>(x, w, size, sums, first);
      case 2:
        return multiply_rows<2>(x, w, size, sums, first);
      case 3:
        return multiply_rows<3>(x, w, size, sums, first);
      default:
        return multiply_rows<4>(x, w, size, sums, first);
    }
  }

  /// A piece of a bf16 row at any alignment, likewise.
  CULL_TARGET_AVX512 static void reorder(unsigned char const* values, std::int64_t size, float* out) noexcept {
    auto const upper = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
    for (std::int64_t k = 0; k < size; k += group) {
      auto const words = _mm512_loadu_si512(values + 2 * k);
      _mm512_storeu_si512(out + k, _mm512_maskz_slli_epi32(0xffff, words, 16));
      _mm512_storeu_si512(out + k + 16, _mm512_and_si512(words, upper));
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

  /// Of each token's and row's lanes.
  template <int T>
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) void store_lane_sums(__m512 const* a, float* sums,
                                                                                       bool first) noexcept {
    for (int i = 0; i < T * rows; ++i) {
      float const sum = lane_sum(a[i]);
      sums[i] = first ? sum : sums[i] + sum;
    }
  }
  CULL_TARGET_AVX512 static void store_sums(__m512 const* a, float* sums, bool first) noexcept {
    auto low = lane_sums_16(a);
    auto high = lane_sums_8(a + 16);
    if (!first) {
      low = _mm512_add_ps(low, _mm512_loadu_ps(sums));
      high = _mm512_add_ps(high, _mm512_maskz_loadu_ps(0xff, sums + 16));
    }
    _mm512_storeu_ps(sums, low);
    _mm512_mask_storeu_ps(sums + 16, 0xff, high);
  }

 private:
  template <int T>
  CULL_TARGET_AVX512 static inline __attribute__((always_inline)) void multiply_rows(float const* const* x, packed_piece const* w,
                                                                                     std::int64_t size, float* sums,
                                                                                     bool first) noexcept {
    __m512 a[T * rows];
    CULL_UNROLL(24)
    for (int i = 0; i < T * rows; ++i) a[i] = _mm512_setzero_ps();
    for (std::int64_t k = 0; k < size; k += group) {
      CULL_UNROLL(6)
      for (int r = 0; r < rows; ++r) {
        _mm_prefetch(reinterpret_cast<char const*>(w[r].codes + k / 2 + 1024), _MM_HINT_T0);
        __m512 values[2];
        unpack({w[r].codes + k / 2, w[r].scales + k / 16}, values);
        CULL_UNROLL(4)
        for (int t = 0; t < T; ++t) {
          a[t * rows + r] = _mm512_fmadd_ps(_mm512_load_ps(x[t] + k), values[0], a[t * rows + r]);
          a[t * rows + r] = _mm512_fmadd_ps(_mm512_load_ps(x[t] + k + 16), values[1], a[t * rows + r]);
        }
      }
    }
    store_lane_sums<T>(a, sums, first);
  }
};

}  // namespace detail

CULL_NAMESPACE_END

#endif
