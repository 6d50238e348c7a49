// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// Experts per MoE layer: one number for all layers, or one per layer.
class expert_counts {
 public:
  expert_counts() = default;
  expert_counts(int same) : same_(same) {}
  expert_counts(std::vector<int> per_layer) : per_layer_(std::move(per_layer)) {}

  /// One number per layer. Throws `errc::shape_mismatch`, `errc::out_of_range`.
  std::vector<int> resolve(std::size_t layers) const {
    auto counts = per_layer_.empty() ? std::vector<int>(layers, same_) : per_layer_;
    if (counts.size() != layers) {
      throw error{errc::shape_mismatch,
                  "observation: " + std::to_string(counts.size()) + " expert counts for " + std::to_string(layers) + " layers"};
    }
    for (int const experts : counts) {
      if (experts <= 0) throw error{errc::out_of_range, "observation: a layer needs at least one expert"};
    }
    return counts;
  }

 private:
  int same_ = 0;
  std::vector<int> per_layer_;
};

/// What an observation has room for.
struct observation_layout {
  std::vector<int> layers;                ///< numbers of the MoE layers in the model, ascending
  expert_counts experts;                  ///< per layer
  std::vector<std::string> domains = {};  ///< names in ascending order; empty: domains are not told apart
};

/// What an observation was made from. Two observations merge if model and settings agree and no sequence is in both.
struct provenance {
  std::string model_digest;
  std::string settings;                                 ///< what changes values: the precision policy
  std::vector<std::array<std::uint64_t, 2>> sequences;  ///< 128-bit digests, ascending
  friend bool operator==(provenance const&, provenance const&) = default;
};

namespace detail {

inline void check_layout(observation_layout const& layout) {
  if (layout.layers.empty()) throw error{errc::shape_mismatch, "observation: no layers"};
  if (std::adjacent_find(layout.layers.begin(), layout.layers.end(), std::greater_equal<>{}) != layout.layers.end()) {
    throw error{errc::out_of_range, "observation: layer numbers must ascend"};
  }
  if (std::adjacent_find(layout.domains.begin(), layout.domains.end(), std::greater_equal<>{}) != layout.domains.end()) {
    throw error{errc::out_of_range, "observation: domain names must be unique and in ascending order"};
  }
}

/// Provenance of both; throws `errc::mismatched_states`, `errc::duplicate_data`.
inline provenance merged(provenance const& a, provenance const& b) {
  if (a.model_digest != b.model_digest) {
    throw error{errc::mismatched_states, "observations of different models (" + a.model_digest + ", " + b.model_digest + ")"};
  }
  if (a.settings != b.settings) {
    throw error{errc::mismatched_states, "observations taken with different settings (" + a.settings + ", " + b.settings + ")"};
  }
  provenance out{a.model_digest, a.settings, {}};
  std::merge(a.sequences.begin(), a.sequences.end(), b.sequences.begin(), b.sequences.end(), std::back_inserter(out.sequences));
  if (std::adjacent_find(out.sequences.begin(), out.sequences.end()) != out.sequences.end()) {
    throw error{errc::duplicate_data, "a calibration sequence is in both observations and would count twice"};
  }
  return out;
}

}  // namespace detail

CULL_NAMESPACE_END
