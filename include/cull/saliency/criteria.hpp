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

/// The sum of a measure, and its standard error given the number of sequences seen (see `expert_sums`).
template <sequence_measure M>
struct sum_of {
  template <class Sums>
  double operator()(Sums const& e) const {
    return e.sum(M{});
  }
  template <class Sums>
  double error(Sums const& e, std::int64_t sequences) const {
    return e.standard_error_of_sum(M{}, sequences);
  }
};
/// Its mean per unit of token weight, and the standard error of that.
template <sequence_measure M>
struct mean_of {
  template <class Sums>
  double operator()(Sums const& e) const {
    return e.mean(M{});
  }
  template <class Sums>
  double error(Sums const& e, std::int64_t) const {
    return e.standard_error(M{});
  }
};

struct reap_t : mean_of<measures::gate_norm> {};             ///< sum w g ||f|| / sum w
struct frequency_t : sum_of<measures::weight> {};            ///< sum w
struct weighted_frequency_t : sum_of<measures::gate> {};     ///< sum w g
struct ean_sum_t : sum_of<measures::norm> {};                ///< sum w ||f||
struct ean_mean_t : mean_of<measures::norm> {};              ///< sum w ||f|| / sum w
struct weighted_ean_sum_t : sum_of<measures::gate_norm> {};  ///< sum w g ||f||
/// Greatest ||f||. It has no standard error: how a maximum scatters does not follow from sums.
struct max_norm_t {
  template <class Sums>
  double operator()(Sums const& e) const {
    return e.max_norm();
  }
};

/// sum w g ||f|| max(0, 1 - cos(h, h + y)): EASY-EP (Dong et al. 2025) and its code
struct easy_ep_t : sum_of<measures::turned_gate_norm> {};
/// sum w ||y - y'||^2: squared error of the routed output when this expert alone is gone
struct leave_one_out_t : sum_of<measures::leave_one_out_loss> {};

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

namespace detail {

/// `use(criterion)` of that name; throws as `criterion_by_name`.
template <class Sums, class Use>
auto use_criterion(std::string_view name, Use&& use) {
  if (name == "reap") return use(criteria::reap);
  if (name == "frequency") return use(criteria::frequency);
  if (name == "weighted_frequency") return use(criteria::weighted_frequency);
  if (name == "ean_sum") return use(criteria::ean_sum);
  if (name == "ean_mean") return use(criteria::ean_mean);
  if (name == "weighted_ean_sum") return use(criteria::weighted_ean_sum);
  if (name == "max_norm") return use(criteria::max_norm);
  if (name != "easy_ep" && name != "leave_one_out") refuse_criterion(name);
  if constexpr (Sums::template has<measures::turned_gate_norm> && Sums::template has<measures::leave_one_out_loss>) {
    if (name == "easy_ep") return use(criteria::easy_ep);
    return use(criteria::leave_one_out);
  }
  throw error{errc::mismatched_states,
              "criterion '" + std::string{name} + "' needs measures that this observation lacks; calibrate again"};
}

}  // namespace detail

/// The criterion of that name, or throws `errc::out_of_range` with the list of names, `errc::mismatched_states` where sums of
/// this kind lack what it needs.
template <class Sums = default_sums>
criterion_on<Sums> criterion_by_name(std::string_view name) {
  return detail::use_criterion<Sums>(name, [](auto const& of) { return criterion_on<Sums>{of}; });
}

/// The standard error of a criterion's scores, or an empty function for one without (`max_norm`). Throws as `criterion_by_name`.
template <class Sums = default_sums>
criterion_error_on<Sums> criterion_error_by_name(std::string_view name) {
  return detail::use_criterion<Sums>(name, [](auto const& of) -> criterion_error_on<Sums> {
    if constexpr (requires(Sums const& e) { of.error(e, std::int64_t{}); }) {
      return [of](Sums const& e, std::int64_t sequences) { return of.error(e, sequences); };
    } else {
      return {};
    }
  });
}

CULL_NAMESPACE_END
