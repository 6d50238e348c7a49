// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/cuda/warp_row.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// A number's place among all: greater scores have greater keys, equal scores (0 and -0 too) the greater key for the lower id; no
/// key is 0.
CULL_HD inline std::uint64_t selection_key(float score, int id) {
  auto const bits = bits_as<std::uint32_t>(score == 0.0f ? 0.0f : score);
  auto const ordered = (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
  return (std::uint64_t{ordered} << 32) | (0xffffffffu - static_cast<std::uint32_t>(id));
}

/// What `choose` does, by a warp, for up to 1,024 experts: k times the greatest key of all lanes, each of which knows the
/// greatest of its own. O(k (experts / 32 + log 32)) steps. Where candidates run out, ids are 0.
CULL_EXEC_CHECK_OFF
template <class Ctx>
CULL_HD void choose_by_warp(Ctx const& c, warp_row const& row, int k) {
  std::uint32_t taken = 0;  // bit i: expert lane + 32 i
  auto const best_of_lane = [&] {
    std::uint64_t best = 0;
    for_own_experts(c, row, [&](int e) {
      if (((taken >> (e / 32)) & 1u) != 0 || !c.load_shared(row.candidate + e)) return;
      auto const key = selection_key(c.load_shared(row.choice + e), e);
      best = key > best ? key : best;
    });
    return best;
  };
  auto own = best_of_lane();
  for (int i = 0; i < k; ++i) {
    auto const best = warp_max(c, own);
    auto const id = best == 0 ? 0 : static_cast<int>(0xffffffffu - static_cast<std::uint32_t>(best));
    if (c.lane() == 0) c.store_shared(row.found + i, id);
    if (best != 0 && best == own) {
      taken |= 1u << (id / 32);
      own = best_of_lane();
    }
  }
  c.sync_warp();
  // Ids ascending; where some are equal, 0 for want of candidates, their order does not matter.
  for (int i = static_cast<int>(c.lane()); i < k; i += 32) {
    int const id = c.load_shared(row.found + i);
    int place = 0;
    for (int j = 0; j < k; ++j) {
      int const other = c.load_shared(row.found + j);
      place += other < id || (other == id && j < i);
    }
    c.store_shared(row.ids + place, id);
    // Ids have no pattern: some scores lie in one bank. Of 8 chosen a request has less than one conflict, once a token.
    c.store_shared(row.weights + place, c.load_shared(row.scores + id));
  }
  c.sync_warp();
}

}  // namespace simt

CULL_NAMESPACE_END
