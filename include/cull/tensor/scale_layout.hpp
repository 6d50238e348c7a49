// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/tensor/view.hpp>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

CULL_NAMESPACE_BEGIN

/// Order of the block scales of a matrix with `rows` rows and `blocks` scales per row, as a type.
/// Checkpoints store rows one after the other.
struct linear {
  CULL_HD static constexpr std::int64_t offset(std::int64_t row, std::int64_t block, std::int64_t blocks) noexcept {
    return row * blocks + block;
  }
  CULL_HD static constexpr std::int64_t size(std::int64_t rows, std::int64_t blocks) noexcept { return rows * blocks; }
};

/// The order Blackwell's block-scaled matrix units read (CUTLASS Sm1xx atom, cuBLASLt VEC16_UE4M3, FlashInfer "128x4"):
/// tiles of 128 rows by 4 scales, 512 bytes each, padded with zeros.
struct tiled_128x4 {
  CULL_HD static constexpr std::int64_t offset(std::int64_t row, std::int64_t block, std::int64_t blocks) noexcept {
    std::int64_t const tile = (row / 128) * tiles(blocks) + block / 4;
    return tile * 512 + (row % 32) * 16 + ((row % 128) / 32) * 4 + block % 4;
  }
  CULL_HD static constexpr std::int64_t size(std::int64_t rows, std::int64_t blocks) noexcept {
    return (rows + 127) / 128 * tiles(blocks) * 512;
  }

 private:
  CULL_HD static constexpr std::int64_t tiles(std::int64_t blocks) noexcept { return (blocks + 3) / 4; }
};

namespace detail {

/// Layouts in which scales [4i, 4i + 4) of a row lie side by side.
template <class Layout>
inline constexpr bool fours_together = std::is_same_v<Layout, linear> || std::is_same_v<Layout, tiled_128x4>;

/// Between rows and tiles 16 by 4 scales at a time: 16 of a row are four of each of four tiles, which hold four of each of four
/// rows side by side.
template <class From, class To>
inline constexpr bool transposed = fours_together<From>&& fours_together<To> && !std::is_same_v<From, To>;

template <class Layout>
std::int64_t transposed_step(std::int64_t blocks) noexcept {
  return std::is_same_v<Layout, linear> ? 32 * blocks : 512;
}

/// Word j of the i-th 16 bytes from `from` becomes word i of the j-th from `to`.
inline void transpose_words(std::uint8_t const* from, std::int64_t from_step, std::uint8_t* to, std::int64_t to_step) noexcept {
#if defined(__SSE2__)
  __m128i in[4];
  for (int i = 0; i < 4; ++i) in[i] = _mm_loadu_si128(reinterpret_cast<__m128i const*>(from + i * from_step));
  auto const low01 = _mm_unpacklo_epi32(in[0], in[1]), low23 = _mm_unpacklo_epi32(in[2], in[3]);
  auto const high01 = _mm_unpackhi_epi32(in[0], in[1]), high23 = _mm_unpackhi_epi32(in[2], in[3]);
  __m128i const out[4] = {_mm_unpacklo_epi64(low01, low23), _mm_unpackhi_epi64(low01, low23), _mm_unpacklo_epi64(high01, high23),
                          _mm_unpackhi_epi64(high01, high23)};
  for (int j = 0; j < 4; ++j) _mm_storeu_si128(reinterpret_cast<__m128i*>(to + j * to_step), out[j]);
#else
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) std::memcpy(to + j * to_step + 4 * i, from + i * from_step + 4 * j, 4);
  }
#endif
}

/// The first `whole_rows` rows and `whole_blocks` scales of each, multiples of 128 and 16, four tiles one after the other.
template <class From, class To>
void relayout_whole_tiles(std::uint8_t const* source, std::uint8_t* target, std::int64_t whole_rows, std::int64_t whole_blocks,
                          std::int64_t blocks) noexcept {
  for (std::int64_t band = 0; band < whole_rows; band += 128) {
    for (std::int64_t block = 0; block < whole_blocks; block += 16) {
      for (std::int64_t row = band; row < band + 32; ++row) {
        transpose_words(source + From::offset(row, block, blocks), transposed_step<From>(blocks),
                        target + To::offset(row, block, blocks), transposed_step<To>(blocks));
      }
    }
  }
}

/// Scales from `first` on of the rows [from, to).
template <class From, class To>
void relayout_rest(std::uint8_t const* source, std::uint8_t* target, std::int64_t from, std::int64_t to, std::int64_t first,
                   std::int64_t blocks) noexcept {
  for (std::int64_t row = from; row < to; ++row) {
    auto block = first;
    if constexpr (fours_together<From> && fours_together<To>) {
      for (; block + 4 <= blocks; block += 4) {
        std::memcpy(target + To::offset(row, block, blocks), source + From::offset(row, block, blocks), 4);
      }
    }
    for (; block < blocks; ++block) target[To::offset(row, block, blocks)] = source[From::offset(row, block, blocks)];
  }
}

template <class From, class To>
void check_relayout(std::int64_t source, std::int64_t target, std::int64_t rows, std::int64_t blocks) {
  if (source == From::size(rows, blocks) && target == To::size(rows, blocks)) return;
  throw error{errc::shape_mismatch, "block scales of " + std::to_string(rows) + " x " + std::to_string(blocks) + " need " +
                                        std::to_string(From::size(rows, blocks)) + " source and " +
                                        std::to_string(To::size(rows, blocks)) + " target bytes, not " + std::to_string(source) +
                                        " and " + std::to_string(target)};
}

}  // namespace detail

/// Copies the block scales `[rows, blocks]` from layout `From` into layout `To`; padding of the result is zero.
/// Throws `errc::shape_mismatch` where a buffer has another size than its layout says.
template <class From, class To>
void relayout(array_view<std::uint8_t const> source, array_view<std::uint8_t> target, std::int64_t rows, std::int64_t blocks) {
  detail::check_relayout<From, To>(source.size(), target.size(), rows, blocks);
  if (target.size() != rows * blocks) std::fill(target.begin(), target.end(), std::uint8_t{0});
  std::int64_t whole_rows = 0, whole_blocks = 0;
  if constexpr (detail::transposed<From, To>) {
    whole_rows = rows / 128 * 128, whole_blocks = blocks / 16 * 16;
    detail::relayout_whole_tiles<From, To>(source.data(), target.data(), whole_rows, whole_blocks, blocks);
  }
  detail::relayout_rest<From, To>(source.data(), target.data(), 0, whole_rows, whole_blocks, blocks);
  detail::relayout_rest<From, To>(source.data(), target.data(), whole_rows, rows, 0, blocks);
}

CULL_NAMESPACE_END
