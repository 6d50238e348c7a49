// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cuda/context.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// Where block scales come from: pointers to each row's in shared memory, so that no register holds them for 8 stages and more;
/// by slot.
struct scale_source {
  std::uint8_t const* const* rows;
  std::int32_t per_row;
  bool wide;  // all matrices' start at multiples of 16 bytes
};

/// How block scales for `Group` columns lie in the shared memory of the tile kernels, and how they come there, 32 bytes of a row
/// at a time: for a turn of two stages after another a word or two of each row, in an order of rows (slots) that has those 8
/// apart beside each other. Turns are a few words further apart than rows need, so that the lanes that copy a row meet other
/// banks.
template <int Group>
struct tile_scales {
  static constexpr int rows = 128;
  static constexpr int turn_bytes = 128 / Group;  // of a row
  static constexpr int turn_stride = (rows + 4) * turn_bytes;
  static constexpr int turns = 64 / turn_bytes;  // of two copies
  static constexpr int stages = turns;           // that a copy is for: half the turns, two each
  using array = std::uint8_t[turns * turn_stride];

  CULL_HD static constexpr int slot_of(int row) { return row / 16 * 16 + row % 8 * 2 + row / 8 % 2; }
  CULL_HD static constexpr unsigned turn_of(int step) { return static_cast<unsigned>(step) / 2 % turns; }

  /// The scales from stage `step` on, a multiple of `stages`; zeros beyond a row's end, up to the turn's. Rows that start at
  /// multiples of 4 bytes only come by words; where they may start anywhere (`Bytewise`) by twos of bytes if they can, or by
  /// bytes.
  CULL_EXEC_CHECK_OFF
  template <bool Bytewise, class C>
  CULL_HD static void fetch(C const& c, array& scales, int step, scale_source const& from) {
    std::uint8_t* const to = scales + turn_of(step) * turn_stride;
    int const begin = step / stages * 32;
    if (from.wide && from.per_row % turn_bytes == 0) {
      fetch_pieces<turn_bytes>(c, to, begin, from);
    } else if constexpr (Bytewise) {
      if (Group == 32 && from.wide && from.per_row % 2 == 0) {  // GPT-OSS's 2,880 columns
        fetch_units<std::uint16_t>(c, to, begin, from);
      } else {
        fetch_units<std::uint8_t>(c, to, begin, from);
      }
    } else {
      fetch_pieces<4>(c, to, begin, from);
    }
  }

 private:
  CULL_HD static constexpr int place(int slot, int byte) {
    return byte / turn_bytes * turn_stride + slot * turn_bytes + byte % turn_bytes;
  }

  /// Neighbours copy a row's pieces; addresses are all there before the copies, which the device likes one after another.
  CULL_EXEC_CHECK_OFF
  template <int Piece, class C>
  CULL_HD static void fetch_pieces(C const& c, std::uint8_t* to, int begin, scale_source const& from) {
    constexpr int pieces = 32 / Piece, apart = 128 / pieces;
    int const byte = static_cast<int>(c.thread()) % pieces * Piece, slot = static_cast<int>(c.thread()) / pieces;
    unsigned const used = begin + byte < from.per_row ? Piece : 0;
    std::uint8_t const* scales[pieces];
    CULL_UNROLL_FULLY
    for (int i = 0; i < pieces; ++i) scales[i] = c.load_shared(from.rows + slot + i * apart) + begin + byte;
    CULL_UNROLL_FULLY
    for (int i = 0; i < pieces; ++i) {
      c.template copy_async<Piece>(to + place(slot, byte) + i * apart * turn_bytes, scales[i], used);
    }
  }

  /// A warp takes a row's 32 bytes at a time, or two rows', a lane a unit; 4 are under way together.
  CULL_EXEC_CHECK_OFF
  template <class Unit, class C>
  CULL_HD static void fetch_units(C const& c, std::uint8_t* to, int begin, scale_source const& from) {
    constexpr int size = sizeof(Unit), apart = 4 * size;
    int const lane = static_cast<int>(c.lane()), byte = lane * size % 32;
    bool const inside = begin + byte < from.per_row;
    CULL_UNROLL_NOT
    for (int first = static_cast<int>(c.warp()) * size + lane * size / 32; first < rows; first += 4 * apart) {
      Unit got[4];
      CULL_UNROLL_FULLY
      for (int i = 0; i < 4; ++i) {
        auto const* const scales = c.load_shared(from.rows + first + i * apart) + begin + byte;
        got[i] = inside ? c.load(reinterpret_cast<Unit const*>(scales)) : Unit{0};
      }
      CULL_UNROLL_FULLY
      for (int i = 0; i < 4; ++i) c.store_shared(reinterpret_cast<Unit*>(to + place(first + i * apart, byte)), got[i]);
    }
  }
};

}  // namespace simt

CULL_NAMESPACE_END
