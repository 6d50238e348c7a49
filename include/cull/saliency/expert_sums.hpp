// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <concepts>
#include <cstdint>
#include <tuple>
#include <utility>

#include <cull/config.hpp>
#include <cull/saliency/clusters.hpp>
#include <cull/saliency/measures.hpp>

CULL_NAMESPACE_BEGIN

/// What was gathered of one expert: the argument of every criterion.
template <measure... Measures>
class expert_sums {
 public:
  template <class M>
  static constexpr bool has = (std::same_as<M, Measures> || ...);

  /// Number of routed tokens (with a weight other than 0), unweighted.
  std::int64_t count() const requires has<measures::count> { return state(cull::count).number; }
  /// The sum of a measure as f64, rounded once; for `max_norm` the maximum.
  template <measure M>
  requires has<M>
  double sum(M m) const { return state(m).value(); }
  /// The same without rounding.
  template <measure M>
  requires has<M> measure_state_t<M>
  const& exact(M m) const { return state(m); }
  double max_norm() const requires has<measures::max_norm> { return state(cull::max_norm).greatest; }

  /// Sum of `m` per unit of token weight; 0 where there is none: an expert never chosen scores 0.
  template <measure M>
  requires has<M> && has<measures::weight>
  double mean(M m) const {
    double const total = sum(cull::weight);
    return total > 0 ? sum(m) / total : 0.0;
  }

  /// Standard error of `mean(m)`, robust to correlation within sequences: that of a ratio of sums over clusters (Cochran,
  /// Sampling Techniques, 6.3), times sqrt(n / (n - 1)). 0 for fewer than two sequences.
  template <sequence_measure M>
  requires has<M> && has<measures::weight>
  double standard_error(M m) const {
    double const total = sum(cull::weight);
    auto const n = static_cast<double>(clusters_.sequences);
    if (clusters_.sequences < 2 || !(total > 0)) return 0.0;
    double const ratio = mean(m);
    // FMA spelled out, so that no compiler flag decides about it.
    double const inner = std::fma(ratio, clusters_.squares(cull::weight).value(), -2 * clusters_.with_weight(m).value());
    double const spread = std::fma(ratio, inner, clusters_.squares(m).value());
    return spread > 0 ? std::sqrt(spread * (n / (n - 1))) / total : 0.0;
  }

  /// Standard error of `sum(m)` over `sequences` sequences, those without a token of this expert being zeros:
  /// sqrt(n / (n - 1) * (sum of squares - square of the sum / n)). 0 for fewer than two sequences.
  template <sequence_measure M>
  requires has<M>
  double standard_error_of_sum(M m, std::int64_t sequences) const {
    return error_of_total(sum(m), clusters_.squares(m).value(), sequences);
  }

  cluster_products<Measures...> const& clusters() const { return clusters_; }

  void merge(expert_sums const& other) {
    (state(Measures{}).merge(other.state(Measures{})), ...);
    clusters_.merge(other.clusters_);
  }

  template <measure M>
  measure_state_t<M>& state(M) {
    return std::get<slot<M>>(states_).state;
  }
  template <measure M>
  measure_state_t<M> const& state(M) const {
    return std::get<slot<M>>(states_).state;
  }
  cluster_products<Measures...>& clusters() { return clusters_; }

  friend bool operator==(expert_sums const&, expert_sums const&) = default;

 private:
  // A type per measure, so that two measures with states of one type are told apart.
  template <class M>
  struct slot {
    measure_state_t<M> state{};
    friend bool operator==(slot const&, slot const&) = default;
  };

  double error_of_total(double total, double squares, std::int64_t sequences) const {
    auto const n = static_cast<double>(std::max(sequences, clusters_.sequences));
    if (n < 2) return 0.0;
    double const spread = std::fma(-total, total / n, squares);
    return spread > 0 ? std::sqrt(spread * (n / (n - 1))) : 0.0;
  }

  std::tuple<slot<Measures>...> states_{};
  cluster_products<Measures...> clusters_{};
};

CULL_NAMESPACE_END
