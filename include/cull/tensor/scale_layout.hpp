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
  for (std::int64_t row = 0; row < rows; ++row) {
    std::int64_t block = 0;
    if constexpr (detail::fours_together<From> && detail::fours_together<To>) {
      for (; block + 4 <= blocks; block += 4) {
        std::memcpy(&target[To::offset(row, block, blocks)], &source[From::offset(row, block, blocks)], 4);
      }
    }
    for (; block < blocks; ++block) target[To::offset(row, block, blocks)] = source[From::offset(row, block, blocks)];
  }
}

CULL_NAMESPACE_END
