// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <unordered_map>

#include <cull/config.hpp>
#include <cull/numeric/exact_sum.hpp>

CULL_NAMESPACE_BEGIN

/// Products over sequences that errors robust to correlation within a sequence need: with N_s the weight and T_s the sum of
/// w * (g * ||f||) of sequence s at one expert, the sums over s of N_s^2, N_s T_s and T_s^2, and the number of sequences.
struct cluster_products {
  exact_sum nn, nt, tt;
  std::int64_t sequences = 0;

  void merge(cluster_products const& other) noexcept {
    nn.merge(other.nn);
    nt.merge(other.nt);
    tt.merge(other.tt);
    sequences += other.sequences;
  }
  friend bool operator==(cluster_products const&, cluster_products const&) = default;
};

/// Gathers N_s and T_s exactly while a sequence is open, whatever the batches it arrives in.
class open_clusters {
 public:
  sum_status try_add(int sequence, double weight, double gate_norm) {
    auto& open = open_[sequence];
    auto const status = open.weight.try_add(weight);
    return status == sum_status::added ? open.gate_norm.try_add(gate_norm) : status;
  }

  /// Closes every open sequence: N_s and T_s are rounded to f64, each product once more. Returns how many products did not fit.
  std::int64_t close_into(cluster_products& products) {
    std::int64_t rejected = 0;
    for (auto const& [sequence, open] : open_) rejected += close_one(open, products) ? 0 : 1;
    open_.clear();
    return rejected;
  }

  bool empty() const noexcept { return open_.empty(); }

  /// A sequence of one token.
  static bool add_single(double weight, double gate_norm, cluster_products& products) {
    return add_products(weight, gate_norm, products);
  }

 private:
  struct sums {
    exact_sum weight, gate_norm;
  };

  static bool close_one(sums const& open, cluster_products& products) {
    return add_products(open.weight.value(), open.gate_norm.value(), products);
  }
  static bool add_products(double n, double t, cluster_products& products) {
    ++products.sequences;
    bool const fits = products.nn.try_add(n * n) == sum_status::added;
    bool const fits_too = products.nt.try_add(n * t) == sum_status::added;
    return products.tt.try_add(t * t) == sum_status::added && fits && fits_too;
  }

  std::unordered_map<int, sums> open_;
};

CULL_NAMESPACE_END
