// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cuda/context.hpp>
#include <cull/router/routing.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// Up to `Tile` pairs of one expert: `pairs[first .. first + rows)`. No rows: nothing to do.
struct alignas(16) expert_tile {
  std::int32_t expert;
  std::int32_t first;
  std::int32_t rows;
  std::int32_t unused;
};

/// Tiles that `pairs` pairs of `experts` experts can need.
CULL_HD constexpr std::int64_t tile_bound(std::int64_t pairs, std::int64_t experts, int tile) { return pairs / tile + experts; }

/// Pairs (token * k + slot) grouped by expert, ascending within each, and the tiles they make. One block per expert, which reads
/// all ids twice; no block waits for another, no atomics. A tile's place is begin / Tile + expert + its number: unique whatever
/// the counts, with holes that the caller has zeroed (`tiles` holds `tile_bound` entries). Ids that are none are in no group.
///
/// Against a radix sort of 8 M ids (CUB: four passes over keys and values) this reads 256 times 32 MB from L2: 2 ms beside the
/// seconds that their experts take, without scratch memory.
template <int Tile>
struct group_pairs {
  static constexpr unsigned threads = 256;
  struct Shared {
    std::uint32_t below[threads / 32];
    std::uint32_t equal[threads / 32];
  };

  std::int32_t const* ids;  // row t at ids + t * stride
  std::int64_t stride;
  std::int32_t tokens;
  std::int32_t k;
  std::int32_t* pairs;
  expert_tile* tiles;
  std::int32_t first_expert;  // the id of the first block's expert

  CULL_EXEC_CHECK_OFF
  template <thread_context C>
  CULL_HD void operator()(C const& c, Shared& s) const {
    auto const place = static_cast<std::int32_t>(c.block());
    auto const expert = first_expert + place;
    std::uint32_t below = 0, equal = 0;
    count_pass(c, expert, below, equal);
    total(c, s, below, equal);
    auto const begin = static_cast<std::int32_t>(below);
    auto const count = static_cast<std::int32_t>(equal);
    for (auto j = static_cast<std::int32_t>(c.thread()); j * Tile < count; j += threads) {
      auto const rest = count - j * Tile;
      c.store(tiles + begin / Tile + place + j, expert_tile{place, begin + j * Tile, rest < Tile ? rest : Tile, 0});
    }
    write_pass(c, s, expert, begin);
  }

 private:
  template <class C>
  CULL_HD std::int32_t id_of(C const& c, std::int32_t pair) const {
    return pair < tokens * k ? c.load(ids + (pair / k) * stride + pair % k) : -1;
  }

  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD void count_pass(C const& c, std::int32_t expert, std::uint32_t& below, std::uint32_t& equal) const {
    for (auto pair = static_cast<std::int32_t>(c.thread()); pair < tokens * k; pair += threads) {
      auto const id = id_of(c, pair);
      below += id >= first_expert && id < expert;
      equal += id == expert;
    }
  }

  /// Sums over the block, to every thread.
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD void total(C const& c, Shared& s, std::uint32_t& below, std::uint32_t& equal) const {
    for (unsigned bits = 16; bits != 0; bits /= 2) {
      below += c.shuffle_xor(below, bits, all_lanes);
      equal += c.shuffle_xor(equal, bits, all_lanes);
    }
    if (c.lane() == 0) {
      c.store_shared(&s.below[c.warp()], below);
      c.store_shared(&s.equal[c.warp()], equal);
    }
    c.sync();
    below = equal = 0;
    for (unsigned w = 0; w < threads / 32; ++w) {
      below += c.load_shared(&s.below[w]);
      equal += c.load_shared(&s.equal[w]);
    }
    c.sync();
  }

  /// Ranks by ballots, 256 pairs at a time.
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD void write_pass(C const& c, Shared& s, std::int32_t expert, std::int32_t next) const {
    for (std::int32_t chunk = 0; chunk < tokens * k; chunk += threads) {
      auto const pair = chunk + static_cast<std::int32_t>(c.thread());
      bool const mine = id_of(c, pair) == expert;
      auto const votes = c.ballot(mine, all_lanes);
      if (c.lane() == 0) c.store_shared(&s.equal[c.warp()], bits_in(votes));
      c.sync();
      std::uint32_t before = bits_in(votes & ((1u << c.lane()) - 1u)), all = 0;
      for (unsigned w = 0; w < threads / 32; ++w) {
        auto const in_warp = c.load_shared(&s.equal[w]);
        before += w < c.warp() ? in_warp : 0u;
        all += in_warp;
      }
      if (mine) c.store(pairs + next + static_cast<std::int32_t>(before), pair);
      next += static_cast<std::int32_t>(all);
      c.sync();
    }
  }

  CULL_HD static std::uint32_t bits_in(std::uint32_t v) {
    v -= (v >> 1) & 0x55555555u;
    v = (v & 0x33333333u) + ((v >> 2) & 0x33333333u);
    return (((v + (v >> 4)) & 0x0f0f0f0fu) * 0x01010101u) >> 24;
  }
};

}  // namespace simt

CULL_NAMESPACE_END
