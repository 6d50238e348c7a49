// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/saliency/observation.hpp>

CULL_NAMESPACE_BEGIN

/// Criteria: function objects from one expert's sums to its score; more is kept. A user's own is any callable of that kind.
/// With w the token weight, g the gate, f the raw expert output, sums over routed tokens (Lasby et al. 2025, REAP, and its code):
namespace criteria {

struct reap_t {  ///< sum w g ||f|| / sum w
  template <class Sums>
  double operator()(Sums const& e) const {
    return e.mean(gate_norm);
  }
  /// Standard error of the score; see `expert_sums`.
  template <class Sums>
  double error(Sums const& e, std::int64_t) const {
    return e.standard_error(gate_norm);
  }
};
struct frequency_t {  ///< sum w
  template <class Sums>
  double operator()(Sums const& e) const {
    return e.sum(weight);
  }
  /// Standard error of the score; see `expert_sums`.
  template <class Sums>
  double error(Sums const& e, std::int64_t sequences) const {
    return e.standard_error_of_sum(weight, sequences);
  }
};
struct weighted_frequency_t {  ///< sum w g
  template <class Sums>
  double operator()(Sums const& e) const {
    return e.sum(gate);
  }
};
struct ean_sum_t {  ///< sum w ||f||
  template <class Sums>
  double operator()(Sums const& e) const {
    return e.sum(norm);
  }
};
struct ean_mean_t {  ///< sum w ||f|| / sum w
  template <class Sums>
  double operator()(Sums const& e) const {
    return e.mean(norm);
  }
};
struct weighted_ean_sum_t {  ///< sum w g ||f||
  template <class Sums>
  double operator()(Sums const& e) const {
    return e.sum(gate_norm);
  }
  /// Standard error of the score; see `expert_sums`.
  template <class Sums>
  double error(Sums const& e, std::int64_t sequences) const {
    return e.standard_error_of_sum(gate_norm, sequences);
  }
};
struct max_norm_t {  ///< greatest ||f||
  template <class Sums>
  double operator()(Sums const& e) const {
    return e.max_norm();
  }
};

struct easy_ep_t {  ///< sum w g ||f|| max(0, 1 - cos(h, h + y)): EASY-EP (Dong et al. 2025) and its code
  template <class Sums>
  double operator()(Sums const& e) const {
    return e.sum(turned_gate_norm);
  }
};
struct leave_one_out_t {  ///< sum w ||y - y'||^2: squared error of the routed output when this expert alone is gone
  template <class Sums>
  double operator()(Sums const& e) const {
    return e.sum(leave_one_out_loss);
  }
};

inline constexpr reap_t reap{};
inline constexpr frequency_t frequency{};
inline constexpr weighted_frequency_t weighted_frequency{};
inline constexpr ean_sum_t ean_sum{};
inline constexpr ean_mean_t ean_mean{};
inline constexpr weighted_ean_sum_t weighted_ean_sum{};
inline constexpr max_norm_t max_norm{};
inline constexpr easy_ep_t easy_ep{};
inline constexpr leave_one_out_t leave_one_out{};

/// Names of those that every observation has, for programs.
inline constexpr std::array<std::string_view, 7> names{
    "reap", "frequency", "weighted_frequency", "ean_sum", "ean_mean", "weighted_ean_sum", "max_norm"};
/// Names of those that a `block_observation` has beside them.
inline constexpr std::array<std::string_view, 2> block_names{"easy_ep", "leave_one_out"};

}  // namespace criteria

// cull::max_norm is the measure.
using criteria::ean_mean;
using criteria::ean_sum;
using criteria::easy_ep;
using criteria::frequency;
using criteria::leave_one_out;
using criteria::reap;
using criteria::weighted_ean_sum;
using criteria::weighted_frequency;

template <class Sums>
using criterion_on = std::function<double(Sums const&)>;
using criterion = criterion_on<default_sums>;
/// Standard error of one expert's score, given the number of sequences seen.
template <class Sums>
using criterion_error_on = std::function<double(Sums const&, std::int64_t)>;

namespace detail {

[[noreturn]] inline void refuse_criterion(std::string_view name) {
  std::string known;
  for (auto const each : criteria::names) known += (known.empty() ? "" : ", ") + std::string{each};
  for (auto const each : criteria::block_names) known += ", " + std::string{each};
  throw error{errc::out_of_range, "no criterion '" + std::string{name} + "'; there are " + known};
}

}  // namespace detail

/// The criterion of that name, or throws `errc::out_of_range` with the list of names, `errc::mismatched_states` where sums of
/// this kind lack what it needs.
template <class Sums = default_sums>
criterion_on<Sums> criterion_by_name(std::string_view name) {
  if (name == "reap") return criteria::reap;
  if (name == "frequency") return criteria::frequency;
  if (name == "weighted_frequency") return criteria::weighted_frequency;
  if (name == "ean_sum") return criteria::ean_sum;
  if (name == "ean_mean") return criteria::ean_mean;
  if (name == "weighted_ean_sum") return criteria::weighted_ean_sum;
  if (name == "max_norm") return criteria::max_norm;
  if (name != "easy_ep" && name != "leave_one_out") detail::refuse_criterion(name);
  if constexpr (Sums::template has<measures::turned_gate_norm> && Sums::template has<measures::leave_one_out_loss>) {
    if (name == "easy_ep") return criteria::easy_ep;
    return criteria::leave_one_out;
  }
  throw error{errc::mismatched_states,
              "criterion '" + std::string{name} + "' needs measures that this observation lacks; calibrate again"};
}

/// The standard error of a criterion's scores, or an empty function where the products over sequences do not give it.
template <class Sums = default_sums>
criterion_error_on<Sums> criterion_error_by_name(std::string_view name) {
  auto const error_of = [](auto of) {
    return [of](Sums const& e, std::int64_t sequences) { return of.error(e, sequences); };
  };
  if (name == "reap") return error_of(criteria::reap);
  if (name == "frequency") return error_of(criteria::frequency);
  if (name == "weighted_ean_sum") return error_of(criteria::weighted_ean_sum);
  return {};
}

CULL_NAMESPACE_END
