// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <type_traits>

#include <cull/cuda/context.hpp>
#include <cull/numeric/exact_sum.hpp>
#include <cull/saliency/clusters.hpp>
#include <cull/saliency/measures.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// Words of 64 bits that a state takes on a device: the limbs of a sum, a number, or the bits of a maximum that is not negative,
/// whose order is that of integers.
template <class State>
inline constexpr int state_words = 0;
template <>
inline constexpr int state_words<exact_sum> = exact_sum::limb_count;
template <>
inline constexpr int state_words<tally> = 1;
template <>
inline constexpr int state_words<peak> = 1;

/// Where the states of one expert lie in its words: the measures in order, then number of sequences, the products over
/// sequences, and what was rejected.
template <measure... Measures>
struct cell_layout {
  static_assert(((state_words<measure_state_t<Measures>> > 0) && ...),
                "on a device a measure's state is an exact_sum, a tally or a peak");
  static constexpr int limbs = exact_sum::limb_count;

  template <class M>
  static consteval int offset_of() {
    int offset = 0;
    bool found = false;
    ((found = found || std::is_same_v<M, Measures>, offset += found ? 0 : state_words<measure_state_t<Measures>>), ...);
    return offset;
  }
  template <class M>
  static constexpr int offset = offset_of<M>();
  static constexpr int measured = (state_words<measure_state_t<Measures>> + ...);
  static constexpr int sequences = measured;
  using by_sequence = sequence_layout<Measures...>;
  static constexpr int products = sequences + 1;
  static constexpr int rejected = products + by_sequence::products * limbs;
  static constexpr int words = rejected + 1;
};

/// Adds to a sum that many threads share: its limbs take atomic additions.
CULL_EXEC_CHECK_OFF
template <int Bits = 64, class Ctx>
CULL_HD sum_status add_exactly(Ctx const& c, std::int64_t* limbs, double value) {
  return exact_sum::split<Bits>(value, [&](int limb, std::int64_t addend) {
    if (addend != 0) c.atomic_add(limbs + limb, addend);
  });
}

/// What one sequence adds to the products over sequences; false where one does not fit.
CULL_EXEC_CHECK_OFF
template <class Layout, class Ctx>
CULL_HD bool add_products(Ctx const& c, std::int64_t* sequences, double const* values) {
  c.atomic_add(sequences, std::int64_t{1});
  bool fits = true;
  Layout::products_of(values, [&](int place, double product) {
    auto* const limbs = sequences + 1 + place * exact_sum::limb_count;
    fits &= add_exactly<exact_sum::wide_bits>(c, limbs, product) == sum_status::added;
  });
  return fits;
}

/// Words of one open sequence at one expert: its sums, and whether there was any token.
template <class Layout>
struct open_words {
  static constexpr int seen = Layout::sums * exact_sum::limb_count;
  static constexpr int words = seen + 1;
};

}  // namespace simt

CULL_NAMESPACE_END
