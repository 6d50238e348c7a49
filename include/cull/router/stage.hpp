// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/tensor/view.hpp>

CULL_NAMESPACE_BEGIN

/// One token's way through a router, `experts` long: stages work on it in place.
/// `scores` begins as the logits; `choice` decides who is chosen (a copy of the scores until a stage changes it); `candidate` is
/// 0 for experts that do not take part; `ids` (ascending) and `weights` hold the `k` chosen.
struct row_ref {
  array_view<float> scores;
  array_view<float> choice;
  array_view<std::uint8_t> candidate;
  array_view<std::int32_t> ids;
  array_view<float> weights;

  CULL_HD std::int64_t experts() const { return scores.size(); }
};

/// Parts of a row, as a set: what a stage needs to have been written before it, and what it writes.
enum class row_part : unsigned {
  none = 0,
  logits = 1,
  candidates = 2,
  scores = 4,
  choice = 8,
  chosen = 16,
  groups = 32,        ///< candidates limited by their groups' choice scores
  logit_scores = 64,  ///< scores that are the logits themselves
  weights = 128,      ///< weights that are more than the scores of the chosen
};

CULL_HD constexpr row_part operator|(row_part a, row_part b) {
  return static_cast<row_part>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
CULL_HD constexpr bool includes(row_part whole, row_part part) {
  return (static_cast<unsigned>(whole) & static_cast<unsigned>(part)) == static_cast<unsigned>(part);
}
CULL_HD constexpr bool overlap(row_part a, row_part b) { return (static_cast<unsigned>(a) & static_cast<unsigned>(b)) != 0; }

namespace detail {

template <class S>
constexpr row_part before_of() {
  if constexpr (requires { S::before; }) return S::before;
  return row_part::none;
}

}  // namespace detail

/// A router stage: a small copyable function object over a row. `reads`: parts that an earlier stage must have written (logits
/// are there from the start). `writes`: parts it fills. `before`: parts that must not have been written yet, since writing them
/// used what this stage changes. A stage may also have `check(experts)`, called once per batch, and `k()` if it chooses.
template <class S>
concept row_stage = std::copy_constructible<S> && requires(S const& stage, row_ref row) {
  { S::reads } -> std::convertible_to<row_part>;
  { S::writes } -> std::convertible_to<row_part>;
  stage(row);
  typename std::integral_constant<row_part, detail::before_of<S>()>;  // names `before` even where the stage comes first
};

/// Two stages, one after the other: itself a stage.
template <row_stage First, row_stage Second>
struct composed {
  static constexpr row_part reads = First::reads;
  static constexpr row_part writes = First::writes | Second::writes;
  static constexpr row_part before = detail::before_of<First>() | detail::before_of<Second>();

  static_assert(includes(First::writes | row_part::logits, Second::reads),
                "router: a stage reads a part of the row that no stage before it has written");
  static_assert(!overlap(First::writes, detail::before_of<Second>()),
                "router: this stage comes too late, an earlier one has already used what it changes");

  First first;
  Second second;

  CULL_HD void operator()(row_ref row) const {
    first(row);
    second(row);
  }
  void check(std::int64_t experts) const {
    if constexpr (requires { first.check(experts); }) first.check(experts);
    if constexpr (requires { second.check(experts); }) second.check(experts);
  }
  constexpr int k() const requires requires(First f) { f.k(); } || requires(Second s) {
    s.k();
  }
  {
    if constexpr (requires(Second s) { s.k(); }) {
      return second.k();
    } else {
      return first.k();
    }
  }
};

template <row_stage First, row_stage Second>
constexpr composed<First, Second> operator|(First first, Second second) {
  return {first, second};
}

namespace detail {

template <class S, class Space>
struct stage_memory {
  static consteval bool fits() {
    if constexpr (requires { typename S::memory_space; }) return std::same_as<typename S::memory_space, Space>;
    return true;
  }
};
template <class First, class Second, class Space>
struct stage_memory<composed<First, Second>, Space> {
  static consteval bool fits() { return stage_memory<First, Space>::fits() && stage_memory<Second, Space>::fits(); }
};

}  // namespace detail

/// Every view that the stage holds (a bias, a keep-set) lies in memory `Space`; a stage without `memory_space` holds none.
template <class S, class Space>
concept stage_in = detail::stage_memory<S, Space>::fits();

/// A complete router: from logits to chosen experts.
template <class R>
concept router = row_stage<R> && includes(R::writes, row_part::chosen) && requires(R const& r) {
  { r.k() } -> std::convertible_to<int>;
};

CULL_NAMESPACE_END
