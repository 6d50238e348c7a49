// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cpu/x86/avx512.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// Products of bf16 pairs summed in f32 (vdpbf16ps) in tiles of 4 tokens by 6 rows; of every 64 columns the even ones come first.
struct avx512_bf16_kernel {
  using element = std::uint16_t;
  static constexpr int tokens = 4;
  static constexpr int rows = 6;
  static constexpr std::int64_t group = 64;
  static constexpr std::int64_t chunk = 2048;
  static constexpr int strips = 1;
  static constexpr std::int64_t few_tokens = 64;

  /// `size` values, a multiple of the group, rounded to bf16 and in the kernel's order.
  CULL_TARGET_AVX512_BF16 static void pack(float const* values, std::int64_t size, std::uint16_t* out) noexcept {
    auto const even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    auto const odd = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    for (std::int64_t k = 0; k < size; k += group) {
      auto const a = _mm512_loadu_ps(values + k);
      auto const b = _mm512_loadu_ps(values + k + 16);
      auto const c = _mm512_loadu_ps(values + k + 32);
      auto const d = _mm512_loadu_ps(values + k + 48);
      store(out + k, _mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(c, even, d));
      store(out + k + 32, _mm512_permutex2var_ps(a, odd, b), _mm512_permutex2var_ps(c, odd, d));
    }
  }

  /// A piece of an NVFP4 row, likewise: products of code and block scale, which bf16 holds exactly.
  CULL_TARGET_AVX512_BF16 static void decode_nvfp4(std::uint8_t const* codes, std::uint8_t const* scales, std::int64_t size,
                                                   std::int64_t ahead, std::uint16_t* out) noexcept {
    for (std::int64_t k = 0; k < size; k += group) {
      _mm_prefetch(reinterpret_cast<char const*>(codes + k / 2 + ahead), _MM_HINT_T0);
      __m512i values[2];
      unpack({codes + k / 2, scales + k / 16}, values);
      _mm512_store_si512(out + k, values[0]);
      _mm512_store_si512(out + k + 32, values[1]);
    }
  }

  /// Four blocks of 16 values, each times its scale: those of even columns, those of odd ones.
  CULL_TARGET_AVX512_BF16 static inline __attribute__((always_inline)) void unpack(packed_piece of, __m512i* out) noexcept {
    auto const nibble = _mm512_set1_epi16(15);
    auto const block = _mm512_set_epi64(0x0030003000300030, 0x0030003000300030, 0x0020002000200020, 0x0020002000200020,
                                        0x0010001000100010, 0x0010001000100010, 0, 0);
    auto const first = products(of.scales[0], of.scales[1]);
    auto const second = products(of.scales[2], of.scales[3]);
    auto const bytes = _mm512_maskz_cvtepu8_epi16(0xffffffff, _mm256_loadu_si256(reinterpret_cast<__m256i const*>(of.codes)));
    auto const low = _mm512_ternarylogic_epi64(bytes, nibble, block, 0xea);  // (bytes & nibble) | block
    auto const high = _mm512_or_si512(_mm512_maskz_srli_epi16(0xffffffff, bytes, 4), block);
    out[0] = _mm512_permutex2var_epi16(first, low, second);
    out[1] = _mm512_permutex2var_epi16(first, high, second);
  }

  /// `multiply` for one to four tokens, rows as they are stored: decoded in registers, the same sums.
  CULL_TARGET_AVX512_BF16 static void multiply_packed(std::uint16_t const* const* x, int count, packed_piece const* w,
                                                      std::int64_t size, float* sums, bool first) noexcept {
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
  CULL_TARGET_AVX512_BF16 static void reorder(unsigned char const* values, std::int64_t size, std::uint16_t* out) noexcept {
    auto const words = _mm512_set1_epi32(0xffff);
    for (std::int64_t k = 0; k < size; k += group) {
      auto const a = _mm512_loadu_si512(values + 2 * k);
      auto const b = _mm512_loadu_si512(values + 2 * k + 64);
      auto const order = _mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0);
      auto const even = _mm512_packus_epi32(_mm512_and_si512(a, words), _mm512_and_si512(b, words));
      auto const odd = _mm512_packus_epi32(_mm512_maskz_srli_epi32(0xffff, a, 16), _mm512_maskz_srli_epi32(0xffff, b, 16));
      _mm512_store_si512(out + k, _mm512_maskz_permutexvar_epi64(0xff, order, even));
      _mm512_store_si512(out + k + 32, _mm512_maskz_permutexvar_epi64(0xff, order, odd));
    }
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
  CULL_TARGET_AVX512_BF16 static inline __attribute__((always_inline)) void multiply_rows(std::uint16_t const* const* x,
                                                                                          packed_piece const* w,
                                                                                          std::int64_t size, float* sums,
                                                                                          bool first) noexcept {
    __m512 a[T * rows];
    CULL_UNROLL(24)
    for (int i = 0; i < T * rows; ++i) a[i] = _mm512_setzero_ps();
    for (std::int64_t k = 0; k < size; k += group) {
      CULL_UNROLL(6)
      for (int r = 0; r < rows; ++r) {
        _mm_prefetch(reinterpret_cast<char const*>(w[r].codes + k / 2 + 1024), _MM_HINT_T0);
        __m512i values[2];
        unpack({w[r].codes + k / 2, w[r].scales + k / 16}, values);
        CULL_UNROLL(4)
        for (int t = 0; t < T; ++t) {
          auto& sum = a[t * rows + r];
          sum = _mm512_dpbf16_ps(sum, (__m512bh)_mm512_load_si512(x[t] + k), (__m512bh)values[0]);
          sum = _mm512_dpbf16_ps(sum, (__m512bh)_mm512_load_si512(x[t] + k + 32), (__m512bh)values[1]);
        }
      }
    }
    avx512_kernel::store_lane_sums<T>(a, sums, first);
  }
  CULL_TARGET_AVX512_BF16 static void store(std::uint16_t* out, __m512 low, __m512 high) noexcept {
    _mm512_store_si512(out, (__m512i)_mm512_cvtne2ps_pbh(high, low));
  }
  /// The sixteen products of each of two block scales.
  CULL_TARGET_AVX512_BF16 static __m512i products(std::uint8_t a, std::uint8_t b) noexcept {
    auto const* const table = bf16_of_scaled_codes.values;
    auto const low = _mm256_load_si256(reinterpret_cast<__m256i const*>(table[a]));
    return _mm512_maskz_inserti64x4(0xff, _mm512_castsi256_si512(low),
                                    _mm256_load_si256(reinterpret_cast<__m256i const*>(table[b])), 1);
  }
};

}  // namespace detail

CULL_NAMESPACE_END

#endif
