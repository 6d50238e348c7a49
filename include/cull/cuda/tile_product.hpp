// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cuda/context.hpp>
#include <cull/cuda/tile_weights.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// 128 rows of 4-bit weights times `Tokens` tokens (64, or 8 for latency) by four warps with `mma.sync` m16n8k16: the main loop
/// of the grouped kernels.
///
/// A warp owns 32 weight rows and all tokens, so every code is decoded once, in registers, for all of them. Weights are the left
/// operand: it is computed, so that its four registers lie where the instruction wants them, and the right one is loaded in
/// place. A thread decodes whole blocks of 16 codes with their one scale: K is permuted within 64 columns so that block t of a
/// row belongs to lane t of each four. Activations come as `Parts` planes of bf16 whose sum they are (1: rounded to bf16; 3: f32
/// exactly), in the order of `paired_element` within 8. Both stream through shared memory by asynchronous copies in stages of
/// 64 columns.
///
/// Order of summation of an output, whatever the tile and its company: 64 columns after 64; of each, 16 at a time, columns
/// {0, 1, 4, 5} + {0, 2, 8, 10}[s] of its four blocks for s = 0..3; the parts one after another, the highest first, for s = 0, 1
/// and then for s = 2, 3. Products are exact; how the tensor core adds 16 of them is its own: |error| <= Parts * K * 2^-22 * sum
/// |w x| covers truncation there.
///
/// Shared memory without bank conflicts: unit u of 16 bytes of row r lies at u ^ (r & 1) in x and at u ^ (r / 4 & 1) in the
/// scales.
template <int Parts, int Tokens, class Weights>
struct tile_product {
  using decoder = typename Weights::template decoder<Tokens>;
  static constexpr unsigned threads = 128;
  static constexpr unsigned min_blocks = Tokens < 64 ? (Parts == 1 ? 6 : 4) : Parts == 1 ? 3 : 1;
  static constexpr int tokens = Tokens;
  static constexpr int token_copies = Tokens < 16 ? 1 : Tokens / 16;  // that a thread makes in a stage
  static constexpr int rows = tile_layout::rows;
  static constexpr int columns = tile_layout::columns;  // of a stage
  static constexpr int together = Tokens < 16 ? 2 : 1;  // stages between two barriers
  static constexpr int turns = Tokens < 16 ? 2 : 3;     // of such in shared memory
  static constexpr int stages = turns * together;
  static constexpr int sum_stride = rows + 4;  // so that the lanes of a warp meet 32 banks, writing by token and reading by row
  static constexpr int scale_stages = Weights::scale_stages;

  struct Shared {
    struct staged {
      pack<std::uint32_t, 4> x[stages][Parts][tokens][8];
      tile_layout::codes codes[stages];
    };
    union {
      alignas(16) staged in;
      float sums[tokens][sum_stride];
    };
    tile_layout::scales scales[2];
    std::uint8_t const* scale_rows[rows];
    std::uint32_t x_rows[tokens];
    float squares[2][tokens];  // of the row norm
  };

  /// Weight rows 16 m + lane / 4 (+ 8 for i >= 2) of the warp's 32, tokens 8 n + 2 (lane % 4) + i % 2.
  using accumulators = float[2][Tokens / 8][4];

  /// Where a thread's copies come from. Tokens that do not exist are others again: nobody reads their sums.
  struct sources {
    std::uint16_t const* x;      // of row 0, at the thread's unit of a stage; planes are `plane_width(k)` wide
    std::int64_t x_part_stride;  // from plane to plane
    std::uint32_t x_row;         // start of token `thread`'s, in units of 16 bytes
    typename Weights::source codes;
    std::uint8_t const* scale_row;  // of tile row `thread`
    bool wide_scales;               // all start at multiples of 16 bytes
  };

  /// Leaves finished sums, without the matrix's outer factor, at `s.sums[token][weight row]` for every thread of the block.
  CULL_EXEC_CHECK_OFF
  template <thread_context C>
  CULL_HD static void run(C const& c, Shared& s, int k, sources const& from) {
    // Found once, and kept where they take no register.
    c.store_shared(&s.scale_rows[c.thread()], from.scale_row);
    if (c.thread() < tokens) c.store_shared(&s.x_rows[c.thread()], from.x_row);
    c.sync();
    accumulators acc{};
    int const steps = (k + columns - 1) / columns;
    for (int turn = 0; turn < turns - 1; ++turn) fetch_turn(c, s, turn * together, turn * together, steps, k, from);
    int stage = 0;
    for (int step = 0; step < steps; step += together) {
      c.template wait_async<turns - 2>();
      c.sync();
      fetch_turn(c, s, stage == 0 ? stages - together : stage - together, step + stages - together, steps, k, from);
      CULL_UNROLL_FULLY
      for (int i = 0; i < together; ++i) {
        if (i == 0 || step + i < steps) multiply(c, s, stage + i, step + i, acc);
      }
      stage = stage + together == stages ? 0 : stage + together;
    }
    c.sync();  // others may still read the last stage
    put(c, s, acc);
    c.sync();
  }

 private:
  /// A group of copies, of such stages as there are.
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void fetch_turn(C const& c, Shared& s, int stage, int step, int steps, int k, sources const& from) {
    if (step < steps) {
      fetch(c, s, stage, step, k, from);
      if (step % scale_stages == 0) {
        scale_source const scales{s.scale_rows, k / Weights::group, from.wide_scales};
        Weights::fetch_scales(c, s.scales[step / scale_stages % 2], step, scales);
      }
    }
    CULL_UNROLL_FULLY
    for (int i = 1; i < together; ++i) {
      if (step + i < steps) fetch(c, s, stage + i, step + i, k, from);
    }
    c.commit_async();
  }

  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void fetch(C const& c, Shared& s, int stage, int step, int k, sources const& from) {
    unsigned const thread = c.thread();
    unsigned const row = thread / 8, unit = thread % 8;
    CULL_UNROLL_FULLY
    for (unsigned i = 0; i < token_copies; ++i) {
      if (Tokens < 16 && row >= Tokens) break;
      auto const x_row = c.load_shared(&s.x_rows[row + 16 * i]);
      CULL_UNROLL_FULLY
      for (int part = 0; part < Parts; ++part) {
        auto const* const x =
            from.x + part * from.x_part_stride + std::uint64_t{x_row + static_cast<std::uint32_t>(step) * (columns / 8)} * 8;
        c.template copy_async<16>(&s.in.x[stage][part][row + 16 * i][unit ^ (row & 1)], x);
      }
    }
    Weights::fetch_codes(c, s.in.codes[stage], step, k, from.codes);
  }

  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void multiply(C const& c, Shared& s, int stage, int step, accumulators& acc) {
    int const group = static_cast<int>(c.lane()) / 4;
    int const quad = static_cast<int>(c.lane()) % 4;
    pack<std::uint32_t, 2> codes[4];  // of rows group + 8 i
    std::uint8_t scales[4];
    CULL_UNROLL_FULLY
    for (int i = 0; i < 4; ++i) {
      int const row = 32 * static_cast<int>(c.warp()) + 8 * i + group;
      codes[i] = c.load_shared(&s.in.codes[stage][row][quad]);
      scales[i] = c.load_shared(&s.scales[step / scale_stages % 2][row][Weights::scale_at(group, step, quad)]);
    }
    auto const factors = decoder::factors_of(c, scales);
    CULL_UNROLL_FULLY
    for (int half = 0; half < 2; ++half) {
      weight_registers w;
      CULL_UNROLL_FULLY
      for (int i = 0; i < 4; ++i) {
        decode_row(c, codes[i][half], c.twice_bf16(factors.of[i / 2], i % 2 != 0), w[i / 2], i % 2);
      }
      decoder::finish(c, factors, w);
      CULL_UNROLL_FULLY
      for (int n = 0; n < Tokens / 8; ++n) {
        CULL_UNROLL_FULLY
        for (int part = 0; part < Parts; ++part) {
          auto const x = c.load_shared(&s.in.x[stage][part][8 * n + group][(2 * quad + half) ^ (group & 1)]);
          CULL_UNROLL_FULLY
          for (int q = 0; q < 2; ++q) {
            std::uint32_t const b[2] = {x[2 * q], x[2 * q + 1]};
            CULL_UNROLL_FULLY
            for (int m = 0; m < 2; ++m) c.mma_m16n8k16_bf16(acc[m][n], w[m][q], b);
          }
        }
      }
    }
  }

  /// 8 codes of a block to the registers of two steps of 16 columns that belong to its row.
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void decode_row(C const& c, std::uint32_t codes, std::uint32_t factor, std::uint32_t (&w)[2][4], int upper) {
    std::uint32_t out[4];
    decoder::decode(c, codes, factor, out);
    CULL_UNROLL_FULLY
    for (int i = 0; i < 4; ++i) w[i / 2][upper + 2 * (i % 2)] = out[i];
  }

  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void put(C const& c, Shared& s, accumulators const& acc) {
    CULL_UNROLL_FULLY
    for (int m = 0; m < 2; ++m) {
      CULL_UNROLL_FULLY
      for (int n = 0; n < Tokens / 8; ++n) {
        CULL_UNROLL_FULLY
        for (int i = 0; i < 4; ++i) {
          auto const row = 32 * c.warp() + 16 * static_cast<unsigned>(m) + c.lane() / 4 + 8 * static_cast<unsigned>(i / 2);
          auto const token = 8 * static_cast<unsigned>(n) + 2 * (c.lane() % 4) + static_cast<unsigned>(i % 2);
          c.store_shared(&s.sums[token][row], acc[m][n][i]);
        }
      }
    }
  }
};

}  // namespace simt

CULL_NAMESPACE_END
