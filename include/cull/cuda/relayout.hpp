// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstdint>

#include <cull/cuda/context.hpp>
#include <cull/tensor/scale_layout.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// Block scales between rows and tiles of 128 x 4: a block takes 128 rows by 32 scales, a sector of each row and 8 whole tiles.
/// Four scales of a row are a word in both; words change places in shared memory.
template <class From, class To>
struct relayout_scales {
  static constexpr unsigned threads = 256;
  static constexpr int tiles = 8, tile_words = 128;
  static constexpr int tile_stride = tile_words + 4;  // no two lanes of a warp meet in a bank, see word()
  static constexpr bool into_tiles = std::same_as<To, tiled_128x4>;
  static_assert(into_tiles != std::same_as<From, tiled_128x4>);
  struct Shared {
    std::uint32_t words[tiles * tile_stride];
  };

  std::uint8_t const* source;
  std::uint8_t* target;
  std::int64_t rows;
  std::int64_t blocks;

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void operator()(Ctx const& c, Shared& s) const {
    auto const first_row = std::int64_t{c.block_y()} * 128;
    auto const first_block = std::int64_t{c.block()} * (4 * tiles);
    if constexpr (into_tiles) {
      for (int i = 0; i < 4; ++i) {
        auto const w = word(c, i);
        c.store_shared(&s.words[w.shared], load_row_word(c, first_row + w.row, first_block + 4 * w.tile));
      }
      c.sync();
      for (int i = 0; i < 4; ++i) move_tile_word(c, s, first_row, first_block, i);
    } else {
      for (int i = 0; i < 4; ++i) move_tile_word(c, s, first_row, first_block, i);
      c.sync();
      for (int i = 0; i < 4; ++i) {
        auto const w = word(c, i);
        store_row_word(c, first_row + w.row, first_block + 4 * w.tile, c.load_shared(&s.words[w.shared]));
      }
    }
  }

 private:
  struct place {
    int row, tile, shared;
  };

  // A warp holds, of 8 tiles, the rows r, r + 32, r + 64, r + 96: four words that are adjacent in a tile.
  template <class Ctx>
  CULL_HD static place word(Ctx const& c, int i) {
    int const tile = static_cast<int>(c.lane() % 8), quarter = static_cast<int>(c.lane() / 8);
    int const row = static_cast<int>(c.warp()) + 8 * i;
    return {row + 32 * quarter, tile, tile * tile_stride + 4 * row + quarter};
  }

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void move_tile_word(Ctx const& c, Shared& s, std::int64_t first_row, std::int64_t first_block, int i) const {
    auto const at = static_cast<int>(c.thread()) + i * static_cast<int>(threads);
    int const tile = at / tile_words, within = at % tile_words;
    if (first_block + 4 * tile >= blocks) return;
    auto const offset = tiled_128x4::offset(first_row, first_block + 4 * tile, blocks) + 4 * within;
    auto& shared = s.words[tile * tile_stride + within];
    if constexpr (into_tiles) {
      c.store(reinterpret_cast<std::uint32_t*>(target + offset), c.load_shared(&shared));
    } else {
      c.store_shared(&shared, c.load(reinterpret_cast<std::uint32_t const*>(source + offset)));
    }
  }

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD std::uint32_t load_row_word(Ctx const& c, std::int64_t row, std::int64_t block) const {
    if (row >= rows) return 0;
    auto const* const p = source + row * blocks + block;
    if (blocks % 4 == 0) return block < blocks ? c.load(reinterpret_cast<std::uint32_t const*>(p)) : 0u;
    std::uint32_t word = 0;
    for (int b = 0; b < 4; ++b) {
      if (block + b < blocks) word |= std::uint32_t{c.load(p + b)} << (8 * b);
    }
    return word;
  }

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void store_row_word(Ctx const& c, std::int64_t row, std::int64_t block, std::uint32_t word) const {
    if (row >= rows) return;
    auto* const p = target + row * blocks + block;
    if (blocks % 4 == 0) {
      if (block < blocks) c.store(reinterpret_cast<std::uint32_t*>(p), word);
      return;
    }
    for (int b = 0; b < 4; ++b) {
      if (block + b < blocks) c.store(p + b, static_cast<std::uint8_t>(word >> (8 * b)));
    }
  }
};

}  // namespace simt

/// `relayout` on the device, enqueued: block scales `[rows, blocks]` from layout `From` into the other, padding zero. Source and
/// target begin at multiples of 4 bytes. Throws `errc::shape_mismatch`.
template <class From, class To, simt::device_executor Exec>
void relayout(Exec const& exec, array_view<std::uint8_t const, device_memory> source,
              array_view<std::uint8_t, device_memory> target, std::int64_t rows, std::int64_t blocks) {
  detail::check_relayout<From, To>(source.size(), target.size(), rows, blocks);
  auto const place = reinterpret_cast<std::uintptr_t>(source.data()) | reinterpret_cast<std::uintptr_t>(target.data());
  if (place % 4 != 0)
    throw error{errc::shape_mismatch, "relayout: block scales on the device must begin at multiples of 4 bytes"};
  if (rows == 0 || blocks == 0) return;
  exec.launch({static_cast<unsigned>((blocks + 31) / 32), static_cast<unsigned>((rows + 127) / 128)},
              simt::relayout_scales<From, To>{source.data(), target.data(), rows, blocks});
}

CULL_NAMESPACE_END
