// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <string_view>

#include <cull/config.hpp>
#include <cull/numeric/exact_sum.hpp>

CULL_NAMESPACE_BEGIN

/// One chosen (token, expert) pair, as a measure sees it.
struct routed_token {
  double weight = 1;  ///< of the token in the calibration set
  double gate = 0;    ///< g: the weight the model's router gives the expert, after renormalisation and scaling
  double norm = 0;    ///< ||f||: L2 norm of the raw expert output, before the gate
  double turn = 0;    ///< of the token: max(0, 1 - cos(h, h + y)), h the residual before the block and y its routed output
  double loss = 0;    ///< ||y - y'||^2, y' the routed output of a router without this expert
};

/// Number of pairs.
struct tally {
  std::int64_t number = 0;

  constexpr sum_status try_add(double) noexcept {
    ++number;
    return sum_status::added;
  }
  constexpr void merge(tally other) noexcept { number += other.number; }
  constexpr double value() const noexcept { return static_cast<double>(number); }
  friend constexpr bool operator==(tally, tally) = default;
};

/// Greatest value, 0 before the first; order-free as a sum is.
struct peak {
  double greatest = 0;

  sum_status try_add(double value) noexcept {
    if (!std::isfinite(value)) return sum_status::not_finite;
    greatest = std::max(greatest, value);
    return sum_status::added;
  }
  constexpr void merge(peak other) noexcept { greatest = std::max(greatest, other.greatest); }
  constexpr double value() const noexcept { return greatest; }
  friend constexpr bool operator==(peak, peak) = default;
};

/// What is gathered per expert: a named function object from a routed token to an addend (one f64, no contraction), and the
/// state that takes the addends: `exact_sum` unless it names another (`tally`, `peak`).
/// `name` is that of its tensor in observation files; `by_sequence`: whether it has standard errors (`clusters.hpp`).
template <class M>
concept measure = std::copy_constructible<M> && requires(M const& m, routed_token const& t) {
  { M::name } -> std::convertible_to<std::string_view>;
  { m(t) } -> std::convertible_to<double>;
};

namespace detail {

template <class M>
struct measure_state {
  using type = exact_sum;
};
template <class M>
requires requires { typename M::state; }
struct measure_state<M> {
  using type = typename M::state;
};

}  // namespace detail

template <measure M>
using measure_state_t = typename detail::measure_state<M>::type;

namespace measures {

struct count {
  using state = tally;
  static constexpr std::string_view name = "count";
  CULL_HD constexpr double operator()(routed_token const&) const { return 1; }
};
struct weight {
  static constexpr std::string_view name = "sum_w";
  static constexpr bool by_sequence = true;
  CULL_HD constexpr double operator()(routed_token const& t) const { return t.weight; }
};
struct gate {
  static constexpr std::string_view name = "sum_g";
  static constexpr bool by_sequence = true;
  CULL_HD constexpr double operator()(routed_token const& t) const { return t.weight * t.gate; }
};
struct norm {
  static constexpr std::string_view name = "sum_f";
  static constexpr bool by_sequence = true;
  CULL_HD constexpr double operator()(routed_token const& t) const { return t.weight * t.norm; }
};
struct gate_norm {
  static constexpr std::string_view name = "sum_gf";
  static constexpr bool by_sequence = true;
  CULL_HD constexpr double operator()(routed_token const& t) const { return t.weight * (t.gate * t.norm); }
};
struct gate_norm_squared {
  static constexpr std::string_view name = "sum_gf2";
  CULL_HD constexpr double operator()(routed_token const& t) const { return t.weight * ((t.gate * t.norm) * (t.gate * t.norm)); }
};
struct norm_squared {
  static constexpr std::string_view name = "sum_f2";
  CULL_HD constexpr double operator()(routed_token const& t) const { return t.weight * (t.norm * t.norm); }
};
struct max_norm {
  using state = peak;
  static constexpr std::string_view name = "max_norm";
  CULL_HD constexpr double operator()(routed_token const& t) const { return t.norm; }
};

struct turned_gate_norm {
  static constexpr std::string_view name = "sum_gft";
  static constexpr bool by_sequence = true;
  CULL_HD constexpr double operator()(routed_token const& t) const { return t.weight * ((t.gate * t.norm) * t.turn); }
};
struct leave_one_out_loss {
  static constexpr std::string_view name = "sum_loss";
  static constexpr bool by_sequence = true;
  CULL_HD constexpr double operator()(routed_token const& t) const { return t.weight * t.loss; }
};

}  // namespace measures

inline constexpr measures::count count{};                            ///< routed tokens, unweighted
inline constexpr measures::weight weight{};                          ///< sum of w
inline constexpr measures::gate gate{};                              ///< sum of w * g
inline constexpr measures::norm norm{};                              ///< sum of w * ||f||
inline constexpr measures::gate_norm gate_norm{};                    ///< sum of w * (g * ||f||): REAP's numerator
inline constexpr measures::gate_norm_squared gate_norm_squared{};    ///< sum of w * (g * ||f||)^2
inline constexpr measures::norm_squared norm_squared{};              ///< sum of w * ||f||^2
inline constexpr measures::max_norm max_norm{};                      ///< greatest ||f||, whatever the weight
inline constexpr measures::turned_gate_norm turned_gate_norm{};      ///< sum of w * ((g * ||f||) * turn): EASY-EP's
inline constexpr measures::leave_one_out_loss leave_one_out_loss{};  ///< sum of w * ||y - y'||^2

CULL_NAMESPACE_END
