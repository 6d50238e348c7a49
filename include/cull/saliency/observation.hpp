// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/executor.hpp>
#include <cull/saliency/clusters.hpp>
#include <cull/saliency/expert_sums.hpp>
#include <cull/saliency/layout.hpp>
#include <cull/saliency/measures.hpp>

CULL_NAMESPACE_BEGIN

template <measure... Measures>
class observation;

/// One layer of an observation, as `add` and `collector` take it; refers to the observation, which must outlive it.
template <measure... Measures>
class observation_slot {
 public:
  template <class M>
  static constexpr bool has = (std::same_as<M, Measures> || ...);

  observation_slot(observation<Measures...>& of, std::size_t layer) : of_(&of), layer_(layer) {}

  int layer() const { return of_->layers()[layer_]; }
  int experts() const { return of_->expert_counts_[layer_]; }
  int domains() const { return of_->domain_count(); }
  /// Says that every sequence of this layer is complete: frees what open sequences need. Sequence numbers may be used again.
  void finish() { of_->finish_layer(layer_); }
  /// The same of the sequences numbered below `end`, for who takes them in order: only those that are open need memory then.
  void finish_below(int end) { of_->finish_layer(layer_, end); }

  auto& cell(int expert, int domain) { return of_->cell(domain, layer_, expert); }

 private:
  observation<Measures...>* of_;
  std::size_t layer_;
};

/// Exact sums of what the experts of a model's MoE layers did: one state per measure, layer, expert and domain.
///
/// Adding and merging are exact and order-free: any split of the calibration set over batches, threads and machines gives the
/// same bits. Layers are addressed by their number in the model. The default measures are those of `default_observation`.
template <measure... Measures>
class observation {
 public:
  using sums_type = expert_sums<Measures...>;

  /// Room for `layout`, all sums zero. Throws `errc::shape_mismatch`, `errc::out_of_range`.
  template <executor Exec>
  observation(Exec const&, observation_layout layout, Measures...) : observation(std::move(layout)) {}
  template <executor Exec>
  requires(sizeof...(Measures) > 0) observation(Exec const&, observation_layout layout) : observation(std::move(layout)) {}
  explicit observation(observation_layout layout) : layers_(layout.layers), domains_(layout.domains) {
    detail::check_layout(layout);
    expert_counts_ = layout.experts.resolve(layers_.size());
    first_.push_back(0);
    for (int const experts : expert_counts_) first_.push_back(first_.back() + static_cast<std::size_t>(experts));
    cells_.resize(first_.back() * static_cast<std::size_t>(domain_count()));
  }

  std::vector<int> const& layers() const { return layers_; }
  std::vector<std::string> const& domains() const { return domains_; }
  /// Experts of the layer with that number.
  int experts(int layer) const { return expert_counts_[index(layer)]; }
  observation_layout layout() const { return {layers_, expert_counts_, domains_}; }

  /// Where to add what layer number `layer` does. Throws `errc::out_of_range` for a layer that is not observed.
  observation_slot<Measures...> at(int layer) { return {*this, index(layer)}; }

  /// Sums of one expert over all domains, or of one domain (by its place in `domains()`). Open sequences are not in `clusters()`
  /// yet.
  sums_type sums(int layer, int expert, std::optional<int> domain = {}) const {
    auto const l = index(layer);
    if (expert < 0 || expert >= expert_counts_[l] || (domain && (*domain < 0 || *domain >= domain_count()))) {
      throw error{errc::out_of_range, "observation: layer " + std::to_string(layer) + " has no expert " + std::to_string(expert) +
                                          (domain ? " in domain " + std::to_string(*domain) : std::string{})};
    }
    if (domain) return cell(*domain, l, expert).sums;
    auto total = cell(0, l, expert).sums;
    for (int d = 1; d < domain_count(); ++d) total.merge(cell(d, l, expert).sums);
    return total;
  }

  /// Closes open sequences of all layers. `export_state` and `merge` do it on a copy where it has not been done.
  void finish() {
    for (std::size_t l = 0; l < layers_.size(); ++l) finish_layer(l);
  }

  bool has_open_sequences() const {
    return std::any_of(cells_.begin(), cells_.end(), [](auto const& c) { return !c.open.empty(); });
  }

  /// Values that could not be added: NaN, infinity, or out of range. The state is of no use when it is not 0.
  std::int64_t rejected() const {
    std::int64_t total = 0;
    for (auto const& c : cells_) total += c.rejected;
    return total;
  }
  /// Throws `errc::rejected_values` unless every value was added.
  void require_sound() const {
    if (auto const n = rejected(); n != 0) {
      throw error{errc::rejected_values,
                  "observation: " + std::to_string(n) +
                      " values were NaN, infinite or out of range; calibrate again without what made them"};
    }
  }

  cull::provenance& provenance() { return provenance_; }
  cull::provenance const& provenance() const { return provenance_; }

  friend bool operator==(observation const& a, observation const& b) {
    return a.layers_ == b.layers_ && a.domains_ == b.domains_ && a.expert_counts_ == b.expert_counts_ &&
           a.provenance_ == b.provenance_ &&
           std::equal(a.cells_.begin(), a.cells_.end(), b.cells_.begin(),
                      [](auto const& x, auto const& y) { return x.sums == y.sums && x.rejected == y.rejected; });
  }

  /// State of one expert in one domain; for code that fills or moves states.
  struct expert_cell {
    sums_type sums;
    open_clusters<Measures...> open;
    std::int64_t rejected = 0;
  };
  expert_cell& cell(int domain, std::size_t layer, int expert) {
    return cells_[static_cast<std::size_t>(domain) * first_.back() + first_[layer] + static_cast<std::size_t>(expert)];
  }
  expert_cell const& cell(int domain, std::size_t layer, int expert) const {
    return const_cast<observation*>(this)->cell(domain, layer, expert);
  }
  int domain_count() const { return std::max(1, static_cast<int>(domains_.size())); }

 private:
  friend class observation_slot<Measures...>;

  std::size_t index(int layer) const {
    auto const found = std::lower_bound(layers_.begin(), layers_.end(), layer);
    if (found == layers_.end() || *found != layer) {
      throw error{errc::out_of_range, "observation: layer " + std::to_string(layer) + " is not observed"};
    }
    return static_cast<std::size_t>(found - layers_.begin());
  }

  void finish_layer(std::size_t layer, std::optional<int> end = {}) {
    for (int d = 0; d < domain_count(); ++d) {
      for (int e = 0; e < expert_counts_[layer]; ++e) {
        auto& c = cell(d, layer, e);
        c.rejected += c.open.close_into(c.sums.clusters(), end);
      }
    }
  }

  std::vector<int> layers_;
  std::vector<std::string> domains_;
  std::vector<int> expert_counts_;
  std::vector<std::size_t> first_;  // of each layer's experts, within a domain
  std::vector<expert_cell> cells_;
  cull::provenance provenance_;
};

using default_observation = observation<measures::count, measures::weight, measures::gate, measures::norm, measures::gate_norm,
                                        measures::gate_norm_squared, measures::norm_squared, measures::max_norm>;
using default_sums = default_observation::sums_type;

/// The default measures and those that need the block around the experts: what a `collector` can gather in one pass.
using block_observation = observation<measures::count, measures::weight, measures::gate, measures::norm, measures::gate_norm,
                                      measures::gate_norm_squared, measures::norm_squared, measures::max_norm,
                                      measures::turned_gate_norm, measures::leave_one_out_loss>;
using block_sums = block_observation::sums_type;

template <executor Exec>
observation(Exec const&, observation_layout)
    -> observation<measures::count, measures::weight, measures::gate, measures::norm, measures::gate_norm,
                   measures::gate_norm_squared, measures::norm_squared, measures::max_norm>;
template <executor Exec, measure First, measure... Rest>
observation(Exec const&, observation_layout, First, Rest...) -> observation<First, Rest...>;

/// An empty default observation where `exec` works: on a device there is another type of the same members
/// (`cuda/observation.hpp`).
template <executor Exec>
requires std::same_as<typename Exec::memory_space, host_memory> default_observation observation_on(Exec const&,
                                                                                                   observation_layout layout) {
  return default_observation{std::move(layout)};
}

/// The observation in the host's memory: this one.
template <measure... Measures>
observation<Measures...> const& to_host(observation<Measures...> const& seen) {
  return seen;
}

/// The same with every sequence closed.
template <measure... Measures>
observation<Measures...> finished(observation<Measures...> seen) {
  seen.finish();
  return seen;
}

CULL_NAMESPACE_END
