// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/cuda/context.hpp>
#include <cull/cuda/tile_decoders.hpp>
#include <cull/cuda/tile_scales.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// How weights lie in the shared memory of the tile kernels: a stage is 128 rows of 64 columns.
struct tile_layout {
  static constexpr int rows = 128;
  static constexpr int columns = 64;
  static constexpr int bytes = columns / 2;  // of a row's codes
  using codes = pack<std::uint32_t, 2>[rows][4];
};

/// Where a thread's copies of codes come from: `Copies` rows of the tile, as far apart as threads that copy a row's stage
/// together. Rows that do not exist are other rows again: nobody reads their sums.
template <int Copies>
struct code_source {
  std::uint8_t const* codes;      // of the first row, at the thread's piece of a stage
  std::int32_t next[Copies - 1];  // from there to the others, in bytes

  CULL_HD std::uint8_t const* row(int i) const { return i == 0 ? codes : codes + next[i - 1]; }
};

/// Copies of rows with a block scale for `Group` columns, `Piece` bytes of codes at a time, which their alignment allows. The
/// threads that share a row's stage, and its scales of some stages, are neighbours: a warp asks for whole sectors. Rows are
/// `Whole` stages, or beyond the last block the codes and scales of a stage are zeros, which add nothing to a sum, so that its
/// bits are those of rows padded to whole stages.
template <int Group, int Piece, bool Whole>
struct tile_rows {
  static constexpr int group = Group;
  static constexpr bool whole = Whole;
  static constexpr int sharers = tile_layout::bytes / Piece;  // threads of a row, and rows of a thread
  static constexpr int apart = tile_layout::rows / sharers;   // rows of a thread
  using source = code_source<sharers>;
  using scales = tile_scales<Group>;

  /// What rows of `k` columns have of codes from a thread's piece on.
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static int bytes_of(C const& c, int k) {
    return k / 2 - static_cast<int>(c.thread()) % sharers * Piece;
  }
  /// A stage's codes: `at(i)` is where it begins in the thread's i-th row; zeros if they are not `there`.
  CULL_EXEC_CHECK_OFF
  template <class C, class At>
  CULL_HD static void fetch_codes(C const& c, tile_layout::codes& to, bool there, At const& at) {
    int const row = static_cast<int>(c.thread()) / sharers, piece = static_cast<int>(c.thread()) % sharers;
    CULL_UNROLL_FULLY
    for (int i = 0; i < sharers; ++i) {
      c.template copy_async<Piece>(&to[row + i * apart][piece * Piece / 8], at(i), there ? Piece : 0);
    }
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void fetch_scales(C const& c, typename scales::array& to, int step, scale_source const& from) {
    scales::template fetch<!Whole>(c, to, step, from);
  }
};

/// NVFP4 rows of whole stages: multiples of 64 columns and rows, codes aligned to 16 bytes and scales to 4.
struct nvfp4_whole : tile_rows<16, 16, true> {
  template <int Tokens>
  using decoder = nvfp4_decoder;
};

/// NVFP4 rows of any multiple of 16 columns, any number of rows. Codes are aligned to the bytes of a block.
struct nvfp4_ragged : tile_rows<16, 8, false> {
  template <int Tokens>
  using decoder = nvfp4_decoder;
};

/// MXFP4 rows of any multiple of 32 columns, any number of rows, aligned likewise.
struct mxfp4_rows : tile_rows<32, 16, false> {
  template <int Tokens>
  using decoder = std::conditional_t<(Tokens < 64), mxfp4_quick_decoder, mxfp4_decoder>;
};

}  // namespace simt

CULL_NAMESPACE_END
