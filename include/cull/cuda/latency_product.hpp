// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/cuda/context.hpp>
#include <cull/cuda/tile_product.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// `tile_product` for 8 tokens, bound by memory if few enough instructions surround decoding: warps meet every 128 columns (a
/// turn of two stages), addresses are immediate, a row's two scales are decoded together. The same sums in the same order; a
/// stage that does not exist adds zeros.
template <int Parts, class Weights>
struct latency_product : tile_memory<Parts, 8, Weights, 4> {
  using memory = tile_memory<Parts, 8, Weights, 4>;
  using memory::columns;
  using typename memory::decoder, typename memory::Shared, typename memory::sources, typename memory::step;
  static constexpr unsigned min_blocks = Parts == 1 ? 6 : 4;

  /// Leaves finished sums, without the matrix's outer factor, at `s.sums[token][weight row]`.
  CULL_EXEC_CHECK_OFF
  template <thread_context C>
  CULL_HD static void run(C const& c, Shared& s, int k, sources const& from) {
    memory::keep_rows(c, s, from);
    typename step::accumulators acc{};
    int const steps = (k + columns - 1) / columns;
    scale_source const scale_rows{s.scale_rows, k / Weights::group, from.wide_scales};
    feed next{c, s, k, from};
    fetch_turn<0, 0>(c, s, next);
    Weights::fetch_scales(c, s.scales, 0, scale_rows);
    c.commit_async();
    int now = 0;
    // Where the lane's scales of the turn lie: of the two candidates for the next turn but one the other wraps around to more.
    constexpr std::uint32_t two_turns = 2 * scales::turn_stride;
    std::uint32_t at = (32 * c.warp() + c.lane() / 4 * 2) * scales::turn_bytes;
    for (int const last = steps - 2; now < last;) {
      meet(c);
      fetch_turn<2, 2>(c, s, next);
      c.commit_async();
      multiply(c, s, 0, s.scales + at, acc);
      now += 4;
      meet(c);
      if (now < steps) {
        fetch_turn<0, 4>(c, s, next);
        if (now % scales::stages == 0) Weights::fetch_scales(c, s.scales, now, scale_rows);
      }
      c.commit_async();
      multiply(c, s, 2, s.scales + at + scales::turn_stride, acc);
      next.go_on();
      auto const further = at + two_turns, back = further - scales::turns * scales::turn_stride;
      at = further < back ? further : back;
    }
    if (now < steps) {
      meet(c);
      multiply(c, s, 0, s.scales + at, acc);
    }
    memory::put(c, s, acc);
  }

 private:
  using scales = typename Weights::scales;
  static_assert(scales::turns % 2 == 0);

  /// Where a thread's copies of the next four stages begin.
  struct feed {
    std::uint16_t const* x;
    std::int64_t x_part_stride;
    std::uint8_t const* codes[Weights::sharers];
    int stages;  // from the thread's of a turn's activations on
    int bytes;   // of codes in a row

    CULL_EXEC_CHECK_OFF
    template <class C>
    CULL_HD feed(C const& c, Shared& s, int k, sources const& from)
        : x(from.x + std::uint64_t{c.load_shared(&s.x_rows[c.thread() / 16]) + c.thread() % 16} * 8),
          x_part_stride(from.x_part_stride),
          stages((k + columns - 1) / columns - static_cast<int>(c.thread() / 8 % 2)),
          bytes(Weights::bytes_of(c, k)) {
      CULL_UNROLL_FULLY
      for (int i = 0; i < Weights::sharers; ++i) codes[i] = from.codes.row(i);
    }
    CULL_HD void go_on() {
      x += 4 * columns;
      CULL_UNROLL_FULLY
      for (auto& row : codes) row += 4 * tile_layout::bytes;
      stages -= 4;
      bytes -= 4 * tile_layout::bytes;
    }
  };

  /// Everyone's copies are there, and nobody reads what the next ones overwrite.
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void meet(C const& c) {
    c.template wait_async<0>();
    c.sync();
  }

  /// Copies of the stages `Ahead` and `Ahead + 1` further on, of which the second may not exist, to `Stage` and the next.
  CULL_EXEC_CHECK_OFF
  template <int Stage, int Ahead, class C>
  CULL_HD static void fetch_turn(C const& c, Shared& s, feed const& from) {
    unsigned const token = c.thread() / 16, second = c.thread() / 8 % 2, unit = c.thread() % 8;
    CULL_UNROLL_FULLY
    for (int part = 0; part < Parts; ++part) {
      c.template copy_async<16>(&s.in.x[Stage + second][part][token][unit ^ (token & 1)],
                                from.x + part * from.x_part_stride + Ahead * columns, Ahead < from.stages ? 16 : 0);
    }
    CULL_UNROLL_FULLY
    for (int i = 0; i < 2; ++i) {
      int const begin = (Ahead + i) * tile_layout::bytes;
      bool const there = (Weights::whole && i == 0) || begin < from.bytes;
      Weights::fetch_codes(c, s.in.codes[Stage + i], there, [&](int row) { return from.codes[row] + begin; });
    }
  }

  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static void multiply(C const& c, Shared& s, int stage, std::uint8_t const* at, typename step::accumulators& acc) {
    constexpr int words = decoder::turn_words;
    std::uint32_t of_rows[4][words];
    CULL_UNROLL_FULLY
    for (int m = 0; m < 2; ++m) {
      auto const two = c.load_shared(reinterpret_cast<pack<std::uint32_t, 2 * words> const*>(at + m * 16 * scales::turn_bytes));
      CULL_UNROLL_FULLY
      for (int i = 0; i < 2 * words; ++i) of_rows[2 * m + i / words][i % words] = two[i];
    }
    if (decoder::suits(c, of_rows)) {
      auto const factors = decoder::factors_of_turn(c, of_rows, c.lane() % 4);
      CULL_UNROLL_FULLY
      for (int i = 0; i < 2; ++i) add<decoder>(c, s, stage, i, factors, acc);
    } else {
      auto const factors = decoder::careful::factors_of_turn(c, of_rows, c.lane() % 4);
      CULL_UNROLL_FULLY
      for (int i = 0; i < 2; ++i) add<typename decoder::careful>(c, s, stage, i, factors, acc);
    }
  }
  CULL_EXEC_CHECK_OFF
  template <class Decoder, class C>
  CULL_HD static void add(C const& c, Shared& s, int stage, int i, typename Decoder::turn_factors const& factors,
                          typename step::accumulators& acc) {
    auto const factor = [&](int row) { return c.twice_bf16(factors.of[row], i != 0); };
    tile_step<Parts, 8, Decoder>::add(c, s.in.codes[stage + i], s.in.x[stage + i], factor, acc);
  }
};

/// The main loop for `Tokens` tokens at a time.
template <int Parts, int Tokens, class Weights>
using product_for = std::conditional_t<(Tokens < 64), latency_product<Parts, Weights>, tile_product<Parts, Tokens, Weights>>;

}  // namespace simt

CULL_NAMESPACE_END
