// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
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
};
struct frequency_t {  ///< sum w
  template <class Sums>
  double operator()(Sums const& e) const {
    return e.sum(weight);
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
};
struct max_norm_t {  ///< greatest ||f||
  template <class Sums>
  double operator()(Sums const& e) const {
    return e.max_norm();
  }
};

inline constexpr reap_t reap{};
inline constexpr frequency_t frequency{};
inline constexpr weighted_frequency_t weighted_frequency{};
inline constexpr ean_sum_t ean_sum{};
inline constexpr ean_mean_t ean_mean{};
inline constexpr weighted_ean_sum_t weighted_ean_sum{};
inline constexpr max_norm_t max_norm{};

/// Names of all of them, for programs.
inline constexpr std::array<std::string_view, 7> names{
    "reap", "frequency", "weighted_frequency", "ean_sum", "ean_mean", "weighted_ean_sum", "max_norm"};

}  // namespace criteria

// cull::max_norm is the measure.
using criteria::ean_mean;
using criteria::ean_sum;
using criteria::frequency;
using criteria::reap;
using criteria::weighted_ean_sum;
using criteria::weighted_frequency;

using criterion = std::function<double(default_sums const&)>;

/// The criterion of that name, or throws `errc::out_of_range` with the list of names.
inline criterion criterion_by_name(std::string_view name) {
  if (name == "reap") return criteria::reap;
  if (name == "frequency") return criteria::frequency;
  if (name == "weighted_frequency") return criteria::weighted_frequency;
  if (name == "ean_sum") return criteria::ean_sum;
  if (name == "ean_mean") return criteria::ean_mean;
  if (name == "weighted_ean_sum") return criteria::weighted_ean_sum;
  if (name == "max_norm") return criteria::max_norm;
  std::string known;
  for (auto const each : criteria::names) known += (known.empty() ? "" : ", ") + std::string{each};
  throw error{errc::out_of_range, "no criterion '" + std::string{name} + "'; there are " + known};
}

CULL_NAMESPACE_END
