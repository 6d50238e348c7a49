// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cuda/context.hpp>
#include <cull/cuda/decode_block.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// How weights lie in the shared memory of the tile kernels: a stage is 128 rows of 64 columns, block scales are copied for 8
/// stages together, one byte for each 16 columns.
struct tile_layout {
  static constexpr int rows = 128;
  static constexpr int columns = 64;
  static constexpr int scale_stages = 8;
  using codes = pack<std::uint32_t, 2>[rows][4];
  using scales = std::uint8_t[rows][4 * scale_stages];

  /// Where the scales of the `word`-th of 8 stages lie in a row.
  CULL_HD static constexpr int scale_place(int row, int word) {
    return ((16 * (word / 4)) ^ (row / 4 % 2 * 16)) + 4 * (word % 4);
  }
};

/// Where a thread's copies of weights come from. Rows that do not exist are other rows again: nobody reads their sums.
struct weight_source {
  std::uint8_t const* codes;   // of weight row thread / 2, at its half of a stage
  std::uint8_t const* scales;  // of weight row thread / 2, at column 0
  std::int32_t next_codes;     // from there to row thread / 2 + 64, in bytes; of scales it is an eighth, or a `Group / 2`-th
  bool wide_scales;            // scales of all rows are aligned to 16 bytes where their number is a multiple of 16
};

/// NVFP4 rows of whole stages: multiples of 64 columns and rows, codes aligned to 16 bytes and scales to 4.
struct nvfp4_whole {
  static constexpr bool whole = true;
  static constexpr int group = 16;

  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void fetch_codes(C const& c, tile_layout::codes& to, int step, int, weight_source const& from) {
    unsigned const row = c.thread() / 2, half = c.thread() % 2;
    auto const* const codes = from.codes + static_cast<std::uint32_t>(step) * (tile_layout::columns / 2);
    c.template copy_async<16>(&to[row][2 * half], codes);
    c.template copy_async<16>(&to[row + 64][2 * half], codes + from.next_codes);
  }

  /// 32 bytes of each row's scales, in pieces of 16 where rows of scales are aligned to that, else of 4, which is four times the
  /// requests and a quarter of each sector at a time.
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void fetch_scales(C const& c, tile_layout::scales& to, int step, int k, weight_source const& from) {
    int const steps = k / tile_layout::columns;
    int const row = static_cast<int>(c.thread()) / 2, word = 4 * (static_cast<int>(c.thread()) % 2);
    auto const* const scales = from.scales + 4 * (step + word);
    if (from.wide_scales && steps % 4 == 0) {
      if (step + word >= steps) return;
      c.template copy_async<16>(&to[row][tile_layout::scale_place(row, word)], scales);
      c.template copy_async<16>(&to[row + 64][tile_layout::scale_place(row, word)], scales + from.next_codes / 8);
      return;
    }
    CULL_UNROLL_NOT
    for (int i = 0; i < 4 && step + word + i < steps; ++i) {
      c.template copy_async<4>(&to[row][tile_layout::scale_place(row, word + i)], scales + 4 * i);
      c.template copy_async<4>(&to[row + 64][tile_layout::scale_place(row, word + i)], scales + from.next_codes / 8 + 4 * i);
    }
  }

  /// The factor of a block's codes, twice as bf16.
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static std::uint32_t factor(C const& c, std::uint8_t scale) {
    float const raised = raised_scale(static_cast<std::int8_t>(scale));
    return c.bf16x2(raised, raised);
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void decode(C const& c, std::uint32_t codes, std::uint32_t factor, std::uint32_t (&out)[4]) {
    decode_8(codes, factor, out, [&](std::uint32_t x, std::uint32_t y) { return c.multiply_bf16x2(x, y); });
  }
};

/// Rows of any number of blocks of `Group` columns: beyond the last the codes and scales of a stage are zeros, which add nothing
/// to a sum, so that its bits are those of rows padded to whole stages. Codes are aligned to `Group / 2` bytes, scales to one,
/// and so they pass through registers.
template <int Group>
struct ragged_rows {
  static constexpr bool whole = false;
  static constexpr int group = Group;

  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void fetch_codes(C const& c, tile_layout::codes& to, int step, int k, weight_source const& from) {
    constexpr int bytes = Group / 2;
    unsigned const row = c.thread() / 2, half = c.thread() % 2;
    int const begin = step * (tile_layout::columns / 2);
    int const left = k / 2 - begin - 16 * static_cast<int>(half);
    CULL_UNROLL_FULLY
    for (int i = 0; i < 16; i += bytes) {
      auto const used = static_cast<unsigned>(i < left ? bytes : 0);
      auto const* const codes = from.codes + begin + i;
      c.template copy_async<bytes>(&to[row][2 * half + static_cast<unsigned>(i) / 8], codes, used);
      c.template copy_async<bytes>(&to[row + 64][2 * half + static_cast<unsigned>(i) / 8], codes + from.next_codes, used);
    }
  }

  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void fetch_scales(C const& c, tile_layout::scales& to, int step, int k, weight_source const& from) {
    int const row = static_cast<int>(c.thread()) / 2, word = 4 * (static_cast<int>(c.thread()) % 2);
    constexpr int per_stage = tile_layout::columns / Group;
    int const first = (step + word) * per_stage;
    auto const* scales = from.scales + first;
    CULL_UNROLL_NOT
    for (int upper = 0; upper < tile_layout::rows; upper += 64) {
      auto const words = four_stages(c, scales, k / Group - first);
      c.store_shared(reinterpret_cast<pack<std::uint32_t, 4>*>(&to[row + upper][tile_layout::scale_place(row, word)]), words);
      scales += from.next_codes / (Group / 2);
    }
  }

 private:
  /// Scales of four stages, `left` of them in the row, each as often as it has blocks of 16.
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static pack<std::uint32_t, 4> four_stages(C const& c, std::uint8_t const* scales, int left) {
    pack<std::uint32_t, 4> words{};
    CULL_UNROLL_FULLY
    for (int i = 0; i < 4 * tile_layout::columns / Group; ++i) {
      auto const scale = i < left ? std::uint32_t{c.load(scales + i)} * (Group == 32 ? 0x101u : 1u) : 0u;
      words[i * (Group / 16) / 4] |= scale << (i * (Group / 16) % 4 * 8);
    }
    return words;
  }
};

/// NVFP4 rows of any multiple of 16 columns; the number of rows may be any too.
struct nvfp4_ragged : ragged_rows<16> {
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static std::uint32_t factor(C const& c, std::uint8_t scale) {
    return nvfp4_whole::factor(c, scale);
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void decode(C const& c, std::uint32_t codes, std::uint32_t factor, std::uint32_t (&out)[4]) {
    nvfp4_whole::decode(c, codes, factor, out);
  }
};

/// MXFP4 rows of any multiple of 32 columns. A product with two factors, as none of bf16 alone takes a code from where the
/// decoder reads it to every value: first to the code itself, then by the block's scale, exact but for what is infinity in f32
/// too.
struct mxfp4_rows : ragged_rows<32> {
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static std::uint32_t factor(C const&, std::uint8_t scale) {
    auto const bits = scale == 0 ? 0x0040u : scale == 0xff ? 0x7fc0u : std::uint32_t{scale} << 7;
    return bits * 0x10001u;
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void decode(C const& c, std::uint32_t codes, std::uint32_t factor, std::uint32_t (&out)[4]) {
    constexpr std::uint32_t two_to_126 = 0x7e807e80u;
    decode_8(codes, two_to_126, out,
             [&](std::uint32_t x, std::uint32_t y) { return c.multiply_bf16x2(c.multiply_bf16x2(x, y), factor); });
  }
};

}  // namespace simt

CULL_NAMESPACE_END
