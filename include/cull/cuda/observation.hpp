// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <cull/cuda/add_tokens.hpp>
#include <cull/cuda/context.hpp>
#include <cull/cuda/device_buffer.hpp>
#include <cull/cuda/merge_cells.hpp>
#include <cull/cuda/warp_tiles.hpp>
#include <cull/saliency/observation.hpp>

CULL_NAMESPACE_BEGIN

/// How many sequences of a layer can be open at once on a device: their numbers are in [0, count). A layer's table takes
/// 168 * domains * count * experts bytes for the default measures, from its first batch with sequences on until `finish`.
struct open_sequences {
  int count = 0;
};

template <simt::device_executor Exec, measure... Measures>
class device_observation;

/// One layer of a device observation, as `add` takes it.
template <simt::device_executor Exec, measure... Measures>
class device_observation_slot {
 public:
  device_observation_slot(device_observation<Exec, Measures...>& of, std::size_t layer) : of_(&of), layer_(layer) {}

  int experts() const { return of_->expert_counts_[layer_]; }
  int domains() const { return of_->domain_count(); }
  /// Says that every sequence of this layer is complete; frees their table. Enqueued.
  void finish() { of_->finish_layer(layer_); }

  /// For `add`.
  simt::layer_cells cells(bool with_sequences, std::int64_t pairs) { return of_->cells_of(layer_, with_sequences, pairs); }

 private:
  device_observation<Exec, Measures...>* of_;
  std::size_t layer_;
};

/// `observation` in a device's memory: the same sums in the same limbs, added by integer atomics, so that the bits are those of
/// the CPU for the same tokens, in any order. `to_host` brings it back. Adding and merging are enqueued on the executor. What the
/// CPU refuses by an exception before anything is added (ids, domains, weights out of range) is left out pair by pair and
/// counted; `to_host` reports it.
template <simt::device_executor Exec, measure... Measures>
class device_observation {
 public:
  using layout_type = simt::cell_layout<Measures...>;

  /// Room for `layout`, all sums zero. Throws `errc::shape_mismatch`, `errc::out_of_range`.
  device_observation(Exec exec, observation_layout layout, open_sequences open = {})
      : layers_(layout.layers), domains_(layout.domains), open_(open), cells_(exec), refused_(exec, 1) {
    detail::check_layout(layout);
    expert_counts_ = layout.experts.resolve(layers_.size());
    first_.push_back(0);
    for (int const experts : expert_counts_) first_.push_back(first_.back() + experts);
    cells_.resize(cell_count() * layout_type::words);
    cells_.fill_zero();
    refused_.fill_zero();
    for (std::size_t l = 0; l < layers_.size(); ++l) tables_.emplace_back(exec);
  }

  std::vector<int> const& layers() const { return layers_; }
  std::vector<std::string> const& domains() const { return domains_; }
  int domain_count() const { return std::max(1, static_cast<int>(domains_.size())); }
  cull::provenance& provenance() { return provenance_; }
  cull::provenance const& provenance() const { return provenance_; }
  Exec const& executor() const { return cells_.executor(); }

  /// Where to add what layer number `layer` does. Throws `errc::out_of_range` for a layer that is not observed.
  device_observation_slot<Exec, Measures...> at(int layer) {
    auto const found = std::lower_bound(layers_.begin(), layers_.end(), layer);
    if (found == layers_.end() || *found != layer) {
      throw error{errc::out_of_range, "observation: layer " + std::to_string(layer) + " is not observed"};
    }
    return {*this, static_cast<std::size_t>(found - layers_.begin())};
  }

  /// Closes open sequences of all layers. Enqueued.
  void finish() {
    for (std::size_t l = 0; l < layers_.size(); ++l) finish_layer(l);
  }

  /// Adds `other`, closing the open sequences of both: the bits of one pass over both. Enqueued.
  /// Throws `errc::mismatched_states`, `errc::duplicate_data`.
  void merge(device_observation& other) {
    if (layers_ != other.layers_ || expert_counts_ != other.expert_counts_ || domains_ != other.domains_) {
      throw error{errc::mismatched_states, "device observations of different layers, expert counts or domains"};
    }
    provenance_ = detail::merged(provenance_, other.provenance_);
    finish();
    other.finish();
    carry(other.cells_.data());
    executor().launch({1}, simt::add_number{refused_.data(), other.refused_.data()});
  }

  /// The observation in the host's memory; closes open sequences and waits for the executor.
  /// Throws `errc::out_of_range` where pairs were refused.
  observation<Measures...> to_host() {
    finish();
    carry(nullptr);
    std::vector<std::int64_t> words(static_cast<std::size_t>(cells_.size()));
    std::int64_t refused = 0;
    executor().copy_out(words.data(), cells_.data(), cells_.bytes());
    executor().copy_out(&refused, refused_.data(), sizeof refused);
    executor().synchronize();
    if (refused != 0) {
      throw error{errc::out_of_range,
                  "add: " + std::to_string(refused) +
                      " chosen pairs have an expert, domain, sequence or weight out of range and were not added"};
    }
    observation<Measures...> out{observation_layout{layers_, expert_counts_, domains_}};
    out.provenance() = provenance_;
    for (int d = 0; d < domain_count(); ++d) {
      for (std::size_t l = 0; l < layers_.size(); ++l) {
        for (int e = 0; e < expert_counts_[l]; ++e) {
          read_cell(words.data() + (d * first_.back() + first_[l] + e) * layout_type::words, out.cell(d, l, e));
        }
      }
    }
    return out;
  }

 private:
  friend class device_observation_slot<Exec, Measures...>;

  std::int64_t cell_count() const { return first_.back() * domain_count(); }

  void carry(std::int64_t const* added) {
    executor().launch(simt::grid_of(cell_count(), 128), simt::merge_cells<Measures...>{cells_.data(), added, cell_count()});
    adds_ = 0;
  }

  void finish_layer(std::size_t layer) {
    if (tables_[layer].size() == 0) return;
    auto const cells = cells_of(layer, true, std::int64_t{open_.count} * domain_count());
    executor().launch(simt::grid_of(std::int64_t{open_.count} * domain_count() * cells.experts, 128),
                      simt::close_sequences<Measures...>{cells});
    tables_[layer].resize(0);
  }

  /// `pairs`: the most additions that one sum can get before the next call.
  simt::layer_cells cells_of(std::size_t layer, bool with_sequences, std::int64_t pairs) {
    if (adds_ + pairs > most_adds) carry(nullptr);
    adds_ += pairs;
    auto& table = tables_[layer];
    int const experts = expert_counts_[layer];
    if (with_sequences && table.size() == 0) {
      table.resize(std::int64_t{domain_count()} * open_.count * experts *
                   simt::open_words<typename layout_type::by_sequence>::words);
      table.fill_zero();
    }
    return {.cells = cells_.data() + first_[layer] * layout_type::words,
            .domain_stride = first_.back() * layout_type::words,
            .experts = experts,
            .domains = domain_count(),
            .open = table.data(),
            .open_sequences = open_.count,
            .refused = refused_.data()};
  }

  static exact_sum sum_at(std::int64_t const* words) {
    exact_sum::limb_array limbs{};
    std::copy_n(words, limbs.size(), limbs.begin());
    return exact_sum::from_limbs(limbs);
  }
  static void read_state(std::int64_t const* words, exact_sum& s) { s = sum_at(words); }
  static void read_state(std::int64_t const* words, tally& s) { s.number = *words; }
  static void read_state(std::int64_t const* words, peak& s) { s.greatest = simt::bits_as<double>(*words); }

  template <class Cell>
  static void read_cell(std::int64_t const* words, Cell& cell) {
    (read_state(words + layout_type::template offset<Measures>, cell.sums.state(Measures{})), ...);
    auto& clusters = cell.sums.clusters();
    clusters.sequences = words[layout_type::sequences];
    for (std::size_t p = 0; p < clusters.products.size(); ++p) {
      clusters.products[p] = sum_at(words + layout_type::products + static_cast<std::int64_t>(p) * layout_type::limbs);
    }
    cell.rejected = words[layout_type::rejected];
  }

  static constexpr std::int64_t most_adds = std::int64_t{1} << 30;

  std::vector<int> layers_;
  std::vector<std::string> domains_;
  std::vector<int> expert_counts_;
  std::vector<std::int64_t> first_;  // of each layer's experts, within a domain
  open_sequences open_;
  device_buffer<std::int64_t, Exec> cells_;
  device_buffer<std::int64_t, Exec> refused_;
  std::vector<device_buffer<std::int64_t, Exec>> tables_;
  cull::provenance provenance_;
  std::int64_t adds_ = 0;
};

/// An empty observation of the default measures on a device.
template <simt::device_executor Exec>
auto observation_on(Exec const& exec, observation_layout layout, open_sequences open = {}) {
  return device_observation<Exec, measures::count, measures::weight, measures::gate, measures::norm, measures::gate_norm,
                            measures::gate_norm_squared, measures::norm_squared, measures::max_norm>{exec, std::move(layout),
                                                                                                     open};
}

template <simt::device_executor Exec, measure... Measures>
observation<Measures...> to_host(device_observation<Exec, Measures...>& seen) {
  return seen.to_host();
}

/// `add` on the device, enqueued. Throws `errc::shape_mismatch`.
template <simt::device_executor Exec, measure... Measures>
void add(Exec const& exec, device_observation_slot<Exec, Measures...> to, routing<device_memory> const& chosen,
         routed_tokens<device_memory> const& tokens) {
  detail::check_routed_tokens(chosen, tokens);
  auto const pairs = chosen.tokens() * chosen.k();
  if (pairs == 0) return;
  auto const cells = to.cells(!tokens.sequence.empty(), pairs);
  exec.launch(simt::grid_of(pairs, 256), simt::add_tokens<Measures...>{cells, chosen, tokens});
}

CULL_NAMESPACE_END
