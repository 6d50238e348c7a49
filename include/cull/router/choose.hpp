// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/router/stage.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// Keeps in `ids`, best first, the candidates with the greatest choice score; equal scores: the lower id.
CULL_HD inline void choose_best(row_ref row, int k) {
  int held = 0;
  for (std::int64_t e = 0; e < row.experts(); ++e) {
    if (!row.candidate[e]) continue;
    float const score = row.choice[e];
    if (held == k && !(score > row.choice[row.ids[k - 1]])) continue;
    int place = held < k ? held++ : k - 1;
    for (; place > 0 && score > row.choice[row.ids[place - 1]]; --place) row.ids[place] = row.ids[place - 1];
    row.ids[place] = static_cast<std::int32_t>(e);
  }
  for (; held < k; ++held) row.ids[held] = 0;  // too few candidates: the public call reports it
}

/// Ids ascending, weights the scores of the chosen: without whatever was added for the choice.
CULL_HD inline void finish_choice(row_ref row, int k) {
  for (int i = 1; i < k; ++i) {
    std::int32_t const id = row.ids[i];
    int place = i;
    for (; place > 0 && row.ids[place - 1] > id; --place) row.ids[place] = row.ids[place - 1];
    row.ids[place] = id;
  }
  for (int i = 0; i < k; ++i) row.weights[i] = row.scores[row.ids[i]];
}

inline void check_choice(int k, std::int64_t experts) {
  if (k >= 1 && k <= experts) return;
  throw error{errc::out_of_range, "choose: cannot choose " + std::to_string(k) + " of " + std::to_string(experts) + " experts"};
}

}  // namespace detail

/// What `choose(k)` gives.
struct choose_stage {
  static constexpr row_part reads = row_part::scores | row_part::choice;
  static constexpr row_part writes = row_part::chosen;
  static constexpr row_part before = row_part::chosen;

  int count;

  CULL_HD void operator()(row_ref row) const {
    detail::choose_best(row, count);
    detail::finish_choice(row, count);
  }
  void check(std::int64_t experts) const { detail::check_choice(count, experts); }
  constexpr int k() const { return count; }
};

/// What `choose<K>()` gives.
template <int K>
requires(K >= 1) struct choose_static {
  static constexpr row_part reads = choose_stage::reads;
  static constexpr row_part writes = choose_stage::writes;
  static constexpr row_part before = choose_stage::before;

  CULL_HD void operator()(row_ref row) const {
    detail::choose_best(row, K);
    detail::finish_choice(row, K);
  }
  void check(std::int64_t experts) const { detail::check_choice(K, experts); }
  static constexpr int k() { return K; }
};

/// Chooses the k candidates with the greatest choice score, ties to the lowest id; ids ascending; weights are their scores.
CULL_HD constexpr choose_stage choose(int k) { return {k}; }
/// The same with k known when compiling: `choose<8>()`.
template <int K>
CULL_HD constexpr choose_static<K> choose() {
  return {};
}

/// Divides the chosen weights by (their f32 sum in ascending id + epsilon), or by `minimum` where that is more and not 0.
struct renormalize {
  static constexpr row_part reads = row_part::chosen;
  static constexpr row_part writes = row_part::weights;

  float epsilon;
  float minimum;

  CULL_HD explicit constexpr renormalize(float e, float least = 0.0f) : epsilon(e), minimum(least) {}

  CULL_HD void operator()(row_ref row) const {
    float sum = 0.0f;
    for (float const w : row.weights) sum += w;
    sum += epsilon;
    if (minimum > 0.0f && sum < minimum) sum = minimum;
    for (auto& w : row.weights) w = w / sum;
  }
};

/// Multiplies the chosen weights: the routed scaling factor.
struct scale {
  static constexpr row_part reads = row_part::chosen;
  static constexpr row_part writes = row_part::weights;

  float factor;

  CULL_HD explicit constexpr scale(float f) : factor(f) {}

  CULL_HD void operator()(row_ref row) const {
    for (auto& w : row.weights) w *= factor;
  }
};

CULL_NAMESPACE_END
