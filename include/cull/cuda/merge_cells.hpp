// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <type_traits>

#include <cull/cuda/context.hpp>
#include <cull/cuda/observation_cells.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// Adds the cells `from` (or nothing, where it is null) to the cells `to`, both canonical afterwards, expert by expert.
/// A lane carries through a cell of its own: a request uses 8 bytes of each sector, a quarter, and L1 has the rest for the next
/// three. Side by side the lanes would carry by shuffles; an observation of 60 layers of 256 experts is 10 MB, once a merge.
template <measure... Measures>
struct merge_cells {
  static constexpr unsigned threads = 128;
  using Shared = no_shared;
  using layout = cell_layout<Measures...>;

  std::int64_t* to;
  std::int64_t const* from;
  std::int64_t cells;

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void operator()(Ctx const& c, no_shared&) const {
    for (auto i = std::int64_t{c.block()} * threads + c.thread(); i < cells; i += std::int64_t{c.blocks()} * threads) {
      auto* const mine = to + i * layout::words;
      auto const* const other = from == nullptr ? nullptr : from + i * layout::words;
      (merge_state<measure_state_t<Measures>>(c, mine, other, layout::template offset<Measures>), ...);
      merge_state<tally>(c, mine, other, layout::sequences);
      for (int p = 0; p < layout::by_sequence::products; ++p)
        merge_state<exact_sum>(c, mine, other, layout::products + p * layout::limbs);
      merge_state<tally>(c, mine, other, layout::rejected);
    }
  }

 private:
  CULL_EXEC_CHECK_OFF
  template <class State, class Ctx>
  CULL_HD static void merge_state(Ctx const& c, std::int64_t* mine, std::int64_t const* other, int at) {
    if constexpr (std::is_same_v<State, exact_sum>) {
      // Limbs of `other` may not be canonical: its high bits go on to the next before the addition can overflow.
      std::int64_t above = 0, above_other = 0;
      for (int i = 0; i < exact_sum::limb_count; ++i) {
        bool const last = i + 1 == exact_sum::limb_count;
        std::int64_t const second = (other == nullptr ? 0 : c.load(other + at + i)) + above_other;
        above_other = second >> 32;
        std::int64_t const first = c.load(mine + at + i) + above + (last ? second : second & 0xffffffff);
        above = first >> 32;
        c.store(mine + at + i, last ? first : first & 0xffffffff);
      }
    } else if (other != nullptr) {
      auto const first = c.load(mine + at), second = c.load(other + at);
      c.store(mine + at, std::is_same_v<State, tally> ? first + second : (second > first ? second : first));
    }
  }
};

/// *to += *from, by one thread.
struct add_number {
  static constexpr unsigned threads = 32;
  using Shared = no_shared;

  std::int64_t* to;
  std::int64_t const* from;

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void operator()(Ctx const& c, no_shared&) const {
    if (c.thread() == 0) c.store(to, c.load(to) + c.load(from));
  }
};

}  // namespace simt

CULL_NAMESPACE_END
