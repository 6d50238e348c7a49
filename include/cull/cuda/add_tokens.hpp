// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <type_traits>

#include <cull/cuda/context.hpp>
#include <cull/cuda/observation_cells.hpp>
#include <cull/saliency/add.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// One layer of an observation on a device.
struct layer_cells {
  std::int64_t* cells = nullptr;  ///< [domains, domain_stride words], an expert's words within
  std::int64_t domain_stride = 0;
  int experts = 0;
  int domains = 1;
  std::int64_t* open = nullptr;  ///< [domains, open_sequences, experts, open_words], or null
  int open_sequences = 0;
  std::int64_t* refused = nullptr;  ///< pairs that the CPU would have thrown for
};

/// Adds a batch to a layer: a thread takes one chosen pair; all sums are integers, so their order does not matter.
template <measure... Measures>
struct add_tokens {
  static constexpr unsigned threads = 256;
  using Shared = no_shared;
  using layout = cell_layout<Measures...>;
  using by_sequence = sequence_layout<Measures...>;

  layer_cells to;
  routing<device_memory> chosen;
  routed_tokens<device_memory> tokens;

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void operator()(Ctx const& c, no_shared&) const {
    auto const k = chosen.k();
    auto const pairs = chosen.tokens() * k;
    for (auto i = std::int64_t{c.block()} * threads + c.thread(); i < pairs; i += std::int64_t{c.blocks()} * threads) {
      auto const token = i / k;
      add_pair(c, token, i - token * k);
    }
  }

 private:
  template <class Ctx>
  struct sink {
    Ctx const& c;
    std::int64_t* cell;
    std::int64_t* open;  ///< of the pair's sequence, or null: it is its own

    template <measure M>
    CULL_HD sum_status add(M, double value) {
      using state = measure_state_t<M>;
      auto* const words = cell + layout::template offset<M>;
      if constexpr (std::is_same_v<state, exact_sum>) {
        return add_exactly(c, words, value);
      } else if constexpr (std::is_same_v<state, tally>) {
        c.atomic_add(words, std::int64_t{1});
      } else {
        if (!detail::is_finite(value)) return sum_status::not_finite;
        if (value > 0) c.atomic_max(reinterpret_cast<std::uint64_t*>(words), bits_as<std::uint64_t>(value));
      }
      return sum_status::added;
    }
    CULL_HD bool add_cluster(double const* values) {
      if (open == nullptr) return add_products<by_sequence>(c, cell + layout::sequences, values);
      c.atomic_add(open + open_words<by_sequence>::seen, std::int64_t{1});
      bool fits = true;
      CULL_UNROLL_FULLY
      for (int i = 0; i < by_sequence::sums; ++i) {
        fits &= add_exactly(c, open + i * exact_sum::limb_count, values[i]) == sum_status::added;
      }
      return fits;
    }
    CULL_HD void reject() { c.atomic_add(cell + layout::rejected, std::int64_t{1}); }
  };

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void add_pair(Ctx const& c, std::int64_t token, std::int64_t slot) const {
    int const expert = c.load(&chosen.ids(token, slot));
    double const share = tokens.weights.empty() ? 1.0 : c.load(&tokens.weights[token]);
    int const domain = tokens.domain.empty() ? 0 : c.load(&tokens.domain[token]);
    int const sequence = tokens.sequence.empty() ? 0 : c.load(&tokens.sequence[token]);
    bool const known = expert >= 0 && expert < to.experts + tokens.zero_experts && domain >= 0 && domain < to.domains &&
                       share >= 0 && detail::is_finite(share) &&
                       (tokens.sequence.empty() || (sequence >= 0 && sequence < to.open_sequences));
    if (!known) c.atomic_add(to.refused, std::int64_t{1});
    if (!known || share == 0 || expert >= to.experts) return;
    auto* const cell = to.cells + domain * to.domain_stride + std::int64_t{expert} * layout::words;
    auto const place = (std::int64_t{domain} * to.open_sequences + sequence) * to.experts + expert;
    auto* const open = tokens.sequence.empty() ? nullptr : to.open + place * open_words<by_sequence>::words;
    sink<Ctx> into{c, cell, open};
    double const gate = c.load(&chosen.weights(token, slot));
    double const norm = tokens.norms.read(token, slot, [&](auto const* at) { return c.load(at); });
    detail::add_one<Measures...>(routed_token{share, gate, norm}, into);
  }
};

/// Closes every open sequence of a layer: adds its products, and leaves the table empty. A thread takes a sequence at an expert:
/// a request uses 8 bytes of each sector, a quarter, and L1 has the rest for the next three; once a layer, and most of the table
/// is empty and only looked at.
template <measure... Measures>
struct close_sequences {
  static constexpr unsigned threads = 128;
  using Shared = no_shared;
  using layout = cell_layout<Measures...>;
  using by_sequence = sequence_layout<Measures...>;

  layer_cells of;

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void operator()(Ctx const& c, no_shared&) const {
    auto const all = std::int64_t{of.domains} * of.open_sequences * of.experts;
    for (auto i = std::int64_t{c.block()} * threads + c.thread(); i < all; i += std::int64_t{c.blocks()} * threads) {
      auto* const open = of.open + i * open_words<by_sequence>::words;
      if (c.load(open + open_words<by_sequence>::seen) == 0) continue;
      double values[by_sequence::sums];
      CULL_UNROLL_FULLY
      for (int s = 0; s < by_sequence::sums; ++s) values[s] = taken(c, open + s * exact_sum::limb_count);
      c.store(open + open_words<by_sequence>::seen, std::int64_t{0});
      auto const expert = i % of.experts, domain = i / of.experts / of.open_sequences;
      auto* const cell = of.cells + domain * of.domain_stride + expert * layout::words;
      if (!add_products<by_sequence>(c, cell + layout::sequences, values)) c.atomic_add(cell + layout::rejected, std::int64_t{1});
    }
  }

 private:
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static double taken(Ctx const& c, std::int64_t* limbs) {
    std::int64_t sum[exact_sum::limb_count];
    CULL_UNROLL_FULLY
    for (int i = 0; i < exact_sum::limb_count; ++i) {
      sum[i] = c.load(limbs + i);
      c.store(limbs + i, std::int64_t{0});
    }
    return exact_sum::value_of(sum);
  }
};

}  // namespace simt

CULL_NAMESPACE_END
