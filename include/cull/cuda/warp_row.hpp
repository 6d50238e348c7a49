// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/cuda/context.hpp>
#include <cull/router/stage.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// A token's row in shared memory, as a warp works on it: expert e is lane e % 32's. Every function ends with the lanes in step.
struct warp_row {
  float* scores;
  float* choice;
  std::uint8_t* candidate;
  std::int32_t* ids;    ///< [k]
  float* weights;       ///< [k]
  std::int32_t* found;  ///< [k], scratch
  float* group_values;  ///< [64], scratch
  int experts;
  int k;

  /// The same for stages that run on one thread, which read and write all of it.
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD row_ref serial(Ctx const& c) const {
    c.declare_shared(scores, experts);
    c.declare_shared(choice, experts);
    c.declare_shared(candidate, experts);
    c.declare_shared(ids, k);
    c.declare_shared(weights, k);
    return {{scores, experts}, {choice, experts}, {candidate, experts}, {ids, k}, {weights, k}};
  }
};

/// Shared memory of one warp.
template <int Experts, int MaxK>
struct warp_row_memory {
  float scores[Experts];
  float choice[Experts];
  std::int32_t ids[MaxK];
  float weights[MaxK];
  std::int32_t found[MaxK];
  float group_values[64];
  std::uint8_t candidate[Experts];

  CULL_HD warp_row row(int experts, int k) { return {scores, choice, candidate, ids, weights, found, group_values, experts, k}; }
};

/// Calls `work(e)` for the experts of the calling lane, ascending.
CULL_EXEC_CHECK_OFF
template <class Ctx, class Work>
CULL_HD void for_own_experts(Ctx const& c, warp_row const& row, Work work) {
  for (int e = static_cast<int>(c.lane()); e < row.experts; e += 32) work(e);
}

CULL_EXEC_CHECK_OFF
template <class Ctx, class T>
CULL_HD T warp_max(Ctx const& c, T value) {
  CULL_UNROLL_FULLY
  for (unsigned bit = 16; bit > 0; bit /= 2) {
    T const other = c.shuffle_xor(value, bit);
    value = other > value ? other : value;
  }
  return value;
}

CULL_EXEC_CHECK_OFF
template <class Ctx, class T>
CULL_HD T warp_sum(Ctx const& c, T value) {
  CULL_UNROLL_FULLY
  for (unsigned bit = 16; bit > 0; bit /= 2) value += c.shuffle_xor(value, bit);
  return value;
}

}  // namespace simt

CULL_NAMESPACE_END
