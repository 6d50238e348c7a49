// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/cuda/context.hpp>
#include <cull/cuda/decode_block.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// How weights lie in the shared memory of the tile kernels: a stage is 128 rows of 64 columns; of block scales 32 bytes of a row
/// are copied together.
struct tile_layout {
  static constexpr int rows = 128;
  static constexpr int columns = 64;
  static constexpr int scale_bytes = 32;
  using codes = pack<std::uint32_t, 2>[rows][4];
  using scales = std::uint8_t[rows][scale_bytes];

  /// Where a row's scales begin that are copied as its bytes from 4 * `word` on.
  CULL_HD static constexpr int scale_place(int row, int word) {
    return ((16 * (word / 4)) ^ (row / 4 % 2 * 16)) + 4 * (word % 4);
  }
};

/// Where a thread's copies of codes come from: `Copies` rows of the tile, as far apart as threads that copy a row's stage
/// together. Rows that do not exist are other rows again: nobody reads their sums.
template <int Copies>
struct code_source {
  std::uint8_t const* codes;      // of the first row, at the thread's piece of a stage
  std::int32_t next[Copies - 1];  // from there to the others, in bytes
};

/// Where block scales come from: pointers to each row's in shared memory, so that no register holds them for 8 stages and more.
struct scale_source {
  std::uint8_t const* const* rows;
  std::int32_t per_row;
  bool wide;  // all matrices' start at multiples of 16 bytes
};

/// Copies of rows with a block scale for `Group` columns, `Piece` bytes of codes at a time, which their alignment allows. The
/// threads that share a row's stage, and its scales of some stages, are neighbours: a warp asks for whole sectors.
template <int Group, int Piece>
struct tile_rows {
  static constexpr int group = Group;
  static constexpr int sharers = tile_layout::columns / 2 / Piece;  // threads of a row, and rows of a thread
  static constexpr int apart = tile_layout::rows / sharers;         // rows of a thread
  static constexpr int scale_stages = tile_layout::scale_bytes * Group / tile_layout::columns;
  using source = code_source<sharers>;

  /// Where the scale lies that a stage's block of 16 columns has in a row like `row`.
  CULL_HD static constexpr int scale_at(int row, int step, int block) {
    int const place = step % scale_stages * (tile_layout::columns / Group) + block * 16 / Group;
    return tile_layout::scale_place(row, place / 4) + place % 4;
  }

  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void fetch_codes(C const& c, tile_layout::codes& to, int step, unsigned used, source const& from) {
    int const row = first_row(c), piece = piece_of(c);
    auto const* const codes = from.codes + static_cast<std::uint32_t>(step) * (tile_layout::columns / 2);
    CULL_UNROLL_FULLY
    for (int i = 0; i < sharers; ++i) {
      c.template copy_async<Piece>(&to[row + i * apart][piece * Piece / 8], i == 0 ? codes : codes + from.next[i - 1], used);
    }
  }

  /// The stage's 32 bytes of each row's scales, as many as there are, in pieces; false where rows start elsewhere than at
  /// multiples of one.
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static bool fetch_wide_scales(C const& c, tile_layout::scales& to, int step, scale_source const& from) {
    if (!from.wide || from.per_row % Piece != 0) return false;
    int const begin = first_scale(step) + piece_of(c) * Piece, word = piece_of(c) * Piece / 4;
    if (begin >= from.per_row) return true;
    CULL_UNROLL_FULLY
    for (int row = first_row(c); row < tile_layout::rows; row += apart) {
      c.template copy_async<Piece>(&to[row][tile_layout::scale_place(row, word)], c.load_shared(from.rows + row) + begin);
    }
    return true;
  }

 protected:
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static int first_row(C const& c) {
    return static_cast<int>(c.thread()) / sharers;
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static int piece_of(C const& c) {
    return static_cast<int>(c.thread()) % sharers;
  }
  CULL_HD static int first_scale(int step) { return step / scale_stages * tile_layout::scale_bytes; }
};

/// The weights of a thread's registers in a step of two m16n8k16: `[16 rows][16 columns][register]`, in odd registers the upper
/// 8 rows.
using weight_registers = std::uint32_t[2][2][4];

/// Factors of a block's codes in four rows, 8 apart: pairs of bf16 of rows 0 and 8, 16 and 24.
struct nvfp4_decoder {
  struct factors {
    std::uint32_t of[2];
  };

  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static factors factors_of(C const& c, std::uint8_t const (&scales)[4]) {
    constexpr std::uint32_t two_to_112 = 0x77807780u;
    factors out;
    CULL_UNROLL_FULLY
    for (int i = 0; i < 2; ++i) {
      auto const pair = c.bf16x2(c.decode_e4m3(scales[2 * i]), c.decode_e4m3(scales[2 * i + 1]));
      out.of[i] = c.multiply_bf16x2(pair, two_to_112);
    }
    return out;
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void decode(C const& c, std::uint32_t codes, std::uint32_t factor, std::uint32_t (&out)[4]) {
    decode_8(c, codes, out, [&](std::uint32_t x) { return c.multiply_bf16x2(x, factor); });
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void finish(C const&, factors const&, weight_registers&) {}
};

/// No factor of bf16 alone takes a code from where the decoder reads it to every value: two products do, exactly but for what is
/// infinity in f32 too, first to the code itself, then by the block's scale.
struct mxfp4_decoder {
  struct factors {
    std::uint32_t of[2];
  };

  template <class C>
  CULL_HD static factors factors_of(C const&, std::uint8_t const (&scales)[4]) {
    return {{bf16x2_of_e8m0(pair_of(scales, 0)), bf16x2_of_e8m0(pair_of(scales, 1))}};
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void decode(C const& c, std::uint32_t codes, std::uint32_t factor, std::uint32_t (&out)[4]) {
    decode_8(c, codes, out, [&](std::uint32_t x) { return c.multiply_bf16x2(c.multiply_bf16x2(x, two_to_126), factor); });
  }
  template <class C>
  CULL_HD static void finish(C const&, factors const&, weight_registers&) {}

 protected:
  static constexpr std::uint32_t two_to_126 = 0x7e807e80u;
  CULL_HD static std::uint32_t pair_of(std::uint8_t const (&scales)[4], int i) {
    return scales[2 * i] + scales[2 * i + 1] * 0x10000u;
  }
};

/// The same where decoding is what takes time and registers are left: scales of up to 2, and trained weights have no others,
/// need one product.
struct mxfp4_quick_decoder : mxfp4_decoder {
  struct factors {
    std::uint32_t of[2];
    std::uint32_t rest[2];
    bool great;  ///< of any lane
  };

  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static factors factors_of(C const& c, std::uint8_t const (&scales)[4]) {
    factors out;
    std::uint32_t pairs[2], great = 0;
    CULL_UNROLL_FULLY
    for (int i = 0; i < 2; ++i) {
      pairs[i] = pair_of(scales, i);
      out.of[i] = pairs[i] * 128u + 0x3f003f00u;  // 2^(scale - 1)
      great |= pairs[i] + 0x007f007fu;            // bit 8 of each half: above 128
    }
    out.great = c.ballot((great & 0x01000100u) != 0, all_lanes) != 0;
    if (!out.great) return out;
    CULL_UNROLL_FULLY
    for (int i = 0; i < 2; ++i) {
      out.of[i] = two_to_126;
      out.rest[i] = bf16x2_of_e8m0(pairs[i]);
    }
    return out;
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void decode(C const& c, std::uint32_t codes, std::uint32_t factor, std::uint32_t (&out)[4]) {
    nvfp4_decoder::decode(c, codes, factor, out);
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void finish(C const& c, factors const& f, weight_registers& w) {
    if (!f.great) return;
    CULL_UNROLL_FULLY
    for (int m = 0; m < 2; ++m) {
      CULL_UNROLL_FULLY
      for (int q = 0; q < 2; ++q) {
        CULL_UNROLL_FULLY
        for (int i = 0; i < 4; ++i) w[m][q][i] = c.multiply_bf16x2(w[m][q][i], c.twice_bf16(f.rest[m], i % 2 != 0));
      }
    }
  }
};

/// NVFP4 rows of whole stages: multiples of 64 columns and rows, codes aligned to 16 bytes and scales to 4.
struct nvfp4_whole : tile_rows<16, 16> {
  template <int Tokens>
  using decoder = nvfp4_decoder;
  static constexpr bool whole = true;

  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void fetch_codes(C const& c, tile_layout::codes& to, int step, int, source const& from) {
    tile_rows::fetch_codes(c, to, step, 16, from);
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void fetch_scales(C const& c, tile_layout::scales& to, int step, scale_source const& from) {
    if (!fetch_wide_scales(c, to, step, from)) fetch_words(c, to, first_scale(step), from);
  }

 private:
  /// A warp takes four rows at a time, a lane 4 bytes of one.
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void fetch_words(C const& c, tile_layout::scales& to, int begin, scale_source const& from) {
    int const word = static_cast<int>(c.lane()) % 8;
    if (begin + 4 * word >= from.per_row) return;
    CULL_UNROLL_NOT
    for (int row = static_cast<int>(c.thread()) / 8; row < tile_layout::rows; row += 16) {
      c.template copy_async<4>(&to[row][tile_layout::scale_place(row, word)], c.load_shared(from.rows + row) + begin + 4 * word);
    }
  }
};

/// Rows of any number of blocks of `Group` columns: beyond the last the codes and scales of a stage are zeros, which add nothing
/// to a sum, so that its bits are those of rows padded to whole stages. Codes are aligned to `Group / 2` bytes, scales to one.
template <int Group>
struct ragged_rows : tile_rows<Group, Group / 2> {
  using rows = tile_rows<Group, Group / 2>;
  using typename rows::source;
  static constexpr bool whole = false;

  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void fetch_codes(C const& c, tile_layout::codes& to, int step, int k, source const& from) {
    int const piece = static_cast<int>(c.thread()) % rows::sharers;
    bool const inside = step * (tile_layout::columns / 2) + piece * (Group / 2) < k / 2;
    rows::fetch_codes(c, to, step, inside ? Group / 2 : 0, from);
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void fetch_scales(C const& c, tile_layout::scales& to, int step, scale_source const& from) {
    if (!rows::fetch_wide_scales(c, to, step, from)) fetch_bytes(c, to, rows::first_scale(step), from);
  }

 private:
  /// A warp takes a row at a time, a lane a byte; 4 are under way together.
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void fetch_bytes(C const& c, tile_layout::scales& to, int begin, scale_source const& from) {
    int const lane = static_cast<int>(c.lane());
    CULL_UNROLL_NOT
    for (int first = static_cast<int>(c.warp()); first < tile_layout::rows; first += 16) {
      std::uint8_t got[4];
      CULL_UNROLL_FULLY
      for (int i = 0; i < 4; ++i) {
        auto const* const scales = c.load_shared(from.rows + first + 4 * i) + begin + lane;
        got[i] = begin + lane < from.per_row ? c.load(scales) : std::uint8_t{0};
      }
      CULL_UNROLL_FULLY
      for (int i = 0; i < 4; ++i) {
        int const row = first + 4 * i;
        c.store_shared(&to[row][tile_layout::scale_place(row, lane / 4) + lane % 4], got[i]);
      }
    }
  }
};

/// NVFP4 rows of any multiple of 16 columns; the number of rows may be any too.
struct nvfp4_ragged : ragged_rows<16> {
  template <int Tokens>
  using decoder = nvfp4_decoder;
};

/// MXFP4 rows of any multiple of 32 columns, any number of rows.
struct mxfp4_rows : ragged_rows<32> {
  template <int Tokens>
  using decoder = std::conditional_t<(Tokens < 64), mxfp4_quick_decoder, mxfp4_decoder>;
};

}  // namespace simt

CULL_NAMESPACE_END
