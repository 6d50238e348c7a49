// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cuda/context.hpp>
#include <cull/cuda/tile_step.hpp>
#include <cull/cuda/tile_weights.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// What the main loops of the tile kernels share with the code around them: `Stages` stages of 64 columns in shared memory,
/// filled by asynchronous copies, then the sums. No bank conflicts: unit u of 16 bytes of row r of x lies at u ^ (r & 1).
template <int Parts, int Tokens, class Weights, int Stages>
struct tile_memory {
  static constexpr unsigned threads = 128;
  static constexpr int tokens = Tokens;
  static constexpr int rows = tile_layout::rows;
  static constexpr int columns = tile_layout::columns;  // of a stage
  static constexpr int stages = Stages;
  static constexpr int sum_stride = rows + 4;  // so that the lanes of a warp meet 32 banks, writing by token and reading by row
  using decoder = typename Weights::template decoder<Tokens>;
  using step = tile_step<Parts, Tokens, decoder>;

  struct Shared {
    struct staged {
      typename step::activations x[stages];
      tile_layout::codes codes[stages];
    };
    union {
      alignas(16) staged in;
      float sums[tokens][sum_stride];
    };
    alignas(16) typename Weights::scales::array scales;
    std::uint8_t const* scale_rows[rows];  // by slot
    std::uint32_t x_rows[tokens];
    float squares[2][tokens];  // of the row norm
  };

  /// Where a thread's copies come from. Tokens that do not exist are others again: nobody reads their sums.
  struct sources {
    std::uint16_t const* x;      // of row 0; planes are `plane_width(k)` wide
    std::int64_t x_part_stride;  // from plane to plane
    std::uint32_t x_row;         // start of token `thread`'s, in units of 16 bytes
    typename Weights::source codes;
    std::uint8_t const* scale_row;  // of tile row `thread`
    bool wide_scales;               // all start at multiples of 16 bytes
  };

  /// Rows are found once, and kept where they take no register.
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void keep_rows(C const& c, Shared& s, sources const& from) {
    auto const thread = static_cast<int>(c.thread());
    c.store_shared(&s.scale_rows[Weights::scales::slot_of(thread)], from.scale_row);
    if (thread < tokens) c.store_shared(&s.x_rows[thread], from.x_row);
    c.sync();
  }

  /// Finished sums, for every thread of the block.
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void put(C const& c, Shared& s, typename step::accumulators const& acc) {
    c.sync();  // others may still read the last stage
    step::put(c, s.sums, acc);
    c.sync();
  }
};

/// 128 rows of 4-bit weights times 64 tokens by four warps: the main loop of the grouped kernels. A warp owns 32 weight rows and
/// all tokens. Activations come as `Parts` planes of bf16 whose sum they are (1: rounded to bf16; 3: f32 exactly), in the order
/// of `paired_element` within 8.
///
/// Order of summation of an output, whatever the tile and its company: 64 columns after 64; of each, 16 at a time, columns
/// {0, 1, 4, 5} + {0, 2, 8, 10}[s] of its four blocks for s = 0..3; the parts one after another, the highest first, for s = 0, 1
/// and then for s = 2, 3. Products are exact; how the tensor core adds 16 of them is its own: |error| <= Parts * K * 2^-22 * sum
/// |w x| covers truncation there.
template <int Parts, int Tokens, class Weights>
struct tile_product : tile_memory<Parts, Tokens, Weights, 3> {
  using memory = tile_memory<Parts, Tokens, Weights, 3>;
  using memory::columns, memory::stages;
  using typename memory::decoder, typename memory::Shared, typename memory::sources, typename memory::step;
  static constexpr unsigned min_blocks = Parts == 1 ? 3 : 1;

  /// Leaves finished sums, without the matrix's outer factor, at `s.sums[token][weight row]`.
  CULL_EXEC_CHECK_OFF
  template <thread_context C>
  CULL_HD static void run(C const& c, Shared& s, int k, sources const& from) {
    memory::keep_rows(c, s, from);
    typename step::accumulators acc{};
    int const steps = (k + columns - 1) / columns;
    for (int first = 0; first < stages - 1; ++first) fetch(c, s, first, first, steps, k, from);
    int stage = 0;
    for (int now = 0; now < steps; ++now) {
      c.template wait_async<stages - 2>();
      c.sync();
      fetch(c, s, stage == 0 ? stages - 1 : stage - 1, now + stages - 1, steps, k, from);
      multiply(c, s, stage, now, acc);
      stage = stage + 1 == stages ? 0 : stage + 1;
    }
    memory::put(c, s, acc);
  }

 private:
  /// A group of copies: of a stage, if it exists.
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void fetch(C const& c, Shared& s, int stage, int now, int steps, int k, sources const& from) {
    if (now < steps) {
      unsigned const row = c.thread() / 8, unit = c.thread() % 8;
      CULL_UNROLL_FULLY
      for (unsigned i = 0; i < Tokens / 16; ++i) {
        auto const x_row = c.load_shared(&s.x_rows[row + 16 * i]) + unit;
        CULL_UNROLL_FULLY
        for (int part = 0; part < Parts; ++part) {
          auto const* const x =
              from.x + part * from.x_part_stride + std::uint64_t{x_row + static_cast<std::uint32_t>(now) * (columns / 8)} * 8;
          c.template copy_async<16>(&s.in.x[stage][part][row + 16 * i][unit ^ (row & 1)], x);
        }
      }
      auto const at = [&](int i) { return from.codes.row(i) + static_cast<std::uint32_t>(now) * tile_layout::bytes; };
      Weights::fetch_codes(c, s.in.codes[stage], Weights::whole || now * tile_layout::bytes < Weights::bytes_of(c, k), at);
      if (now % Weights::scales::stages == 0) {
        Weights::fetch_scales(c, s.scales, now, scale_source{s.scale_rows, k / Weights::group, from.wide_scales});
      }
    }
    c.commit_async();
  }

  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void multiply(C const& c, Shared& s, int stage, int now, typename step::accumulators& acc) {
    using scales = typename Weights::scales;
    int const group = static_cast<int>(c.lane()) / 4, quad = static_cast<int>(c.lane()) % 4;
    auto const* const at = s.scales + scales::turn_of(now) * scales::turn_stride + now % 2 * (scales::turn_bytes / 2) +
                           quad * 16 / Weights::group +
                           scales::slot_of(32 * static_cast<int>(c.warp()) + group) * scales::turn_bytes;
    std::uint32_t factors[2];  // of rows group + 16 m and 8 further
    CULL_UNROLL_FULLY
    for (int m = 0; m < 2; ++m) {
      auto const* const rows = at + m * 16 * scales::turn_bytes;
      factors[m] = decoder::factors_of_rows(c, c.load_shared(rows), c.load_shared(rows + scales::turn_bytes));
    }
    auto const factor = [&](int i) { return c.twice_bf16(factors[i / 2], i % 2 != 0); };
    step::add(c, s.in.codes[stage], s.in.x[stage], factor, acc);
  }
};

}  // namespace simt

CULL_NAMESPACE_END
