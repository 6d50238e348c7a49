// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <unordered_map>

#include <cull/config.hpp>
#include <cull/numeric/exact_sum.hpp>
#include <cull/saliency/measures.hpp>

CULL_NAMESPACE_BEGIN

/// A measure that is summed by sequence too, so that its sum and its mean have standard errors robust to correlation within a
/// sequence: an `exact_sum` that says `static constexpr bool by_sequence = true`.
template <class M>
concept sequence_measure = measure<M> && std::same_as<measure_state_t<M>, exact_sum> && requires {
  requires M::by_sequence;
};

/// What is kept by sequence: with N_s the token weight and T_s the sum of a measure of sequence s at one expert, the sums over s
/// of N_s^2 and, per `sequence_measure` among `Measures` but the weight itself, of N_s T_s and T_s^2. As places in arrays.
template <measure... Measures>
struct sequence_layout {
  template <class M>
  static constexpr bool counts = sequence_measure<M> && !std::same_as<M, measures::weight>;
  static constexpr int sums = 1 + (0 + ... + (counts<Measures> ? 1 : 0));  ///< of an open sequence: N_s at 0
  static constexpr int products = 2 * sums - 1;

  /// Place of the sum of `M`.
  template <class M>
  static consteval int sum_of() {
    if (std::same_as<M, measures::weight>) return 0;
    int place = 0;
    bool found = false;
    ((place += !found && counts<Measures> ? 1 : 0, found = found || std::same_as<M, Measures>), ...);
    return place;
  }
  template <class M>
  static constexpr int square_of = 2 * sum_of<M>();
  template <class M>
  static constexpr int cross_of = 2 * sum_of<M>() - (sum_of<M>() > 0 ? 1 : 0);

  /// What a token adds to the sums of its sequence.
  CULL_EXEC_CHECK_OFF
  CULL_HD static constexpr void values_of(routed_token const& seen, double* values) {
    values[0] = seen.weight;
    (put<Measures>(seen, values), ...);
  }
  /// What a sequence adds to the products: calls `add(place, product)` for each.
  CULL_EXEC_CHECK_OFF
  template <class Add>
  CULL_HD static constexpr void products_of(double const* values, Add&& add) {
    add(0, values[0] * values[0]);
    CULL_UNROLL_FULLY
    for (int i = 1; i < sums; ++i) {
      add(2 * i - 1, values[0] * values[i]);
      add(2 * i, values[i] * values[i]);
    }
  }

 private:
  template <class M>
  CULL_HD static constexpr void put(routed_token const& seen, double* values) {
    if constexpr (counts<M>) values[sum_of<M>()] = M{}(seen);
  }
};

/// The products of one expert, and how many sequences chose it.
template <measure... Measures>
struct cluster_products {
  using layout = sequence_layout<Measures...>;

  std::array<exact_sum, layout::products> products;
  std::int64_t sequences = 0;

  template <sequence_measure M>
  exact_sum const& squares(M) const {
    return products[static_cast<std::size_t>(layout::template square_of<M>)];
  }
  template <sequence_measure M>
  exact_sum const& with_weight(M) const {
    return products[static_cast<std::size_t>(layout::template cross_of<M>)];
  }

  /// Adds a closed sequence; false where a product does not fit.
  bool try_add(double const* values) {
    ++sequences;
    bool fits = true;
    layout::products_of(values, [&](int place, double product) {
      fits &= products[static_cast<std::size_t>(place)].try_add_wide(product) == sum_status::added;
    });
    return fits;
  }
  void merge(cluster_products const& other) noexcept {
    for (std::size_t i = 0; i < products.size(); ++i) products[i].merge(other.products[i]);
    sequences += other.sequences;
  }
  friend bool operator==(cluster_products const&, cluster_products const&) = default;
};

/// Gathers the sums of sequences exactly while they are open, whatever the batches they arrive in.
template <measure... Measures>
class open_clusters {
 public:
  using layout = sequence_layout<Measures...>;

  sum_status try_add(int sequence, double const* values) {
    auto& open = open_[sequence];
    auto status = sum_status::added;
    for (std::size_t i = 0; i < open.size() && status == sum_status::added; ++i) status = open[i].try_add(values[i]);
    return status;
  }

  /// Closes open sequences, all or those numbered below `end`: sums are rounded to f64, each product once more. Returns how many
  /// sequences did not fit.
  std::int64_t close_into(cluster_products<Measures...>& products, std::optional<int> end = {}) {
    std::int64_t rejected = 0;
    std::erase_if(open_, [&](auto const& entry) {
      if (end && entry.first >= *end) return false;
      double values[layout::sums];
      for (std::size_t i = 0; i < entry.second.size(); ++i) values[i] = entry.second[i].value();
      rejected += products.try_add(values) ? 0 : 1;
      return true;
    });
    if (open_.empty()) open_ = decltype(open_){};  // the table of buckets too, which `= {}` keeps
    return rejected;
  }

  bool empty() const noexcept { return open_.empty(); }

 private:
  std::unordered_map<int, std::array<exact_sum, layout::sums>> open_;
};

CULL_NAMESPACE_END
