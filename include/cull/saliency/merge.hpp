// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/saliency/observation.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

template <measure... Measures>
void merge_cells(observation<Measures...>& to, observation<Measures...> const& from) {
  for (int d = 0; d < from.domain_count(); ++d) {
    int target = 0;
    if (!from.domains().empty()) {
      auto const found = std::lower_bound(to.domains().begin(), to.domains().end(), from.domains()[static_cast<std::size_t>(d)]);
      target = static_cast<int>(found - to.domains().begin());
    }
    for (std::size_t l = 0; l < from.layers().size(); ++l) {
      for (int e = 0; e < from.experts(from.layers()[l]); ++e) to.cell(target, l, e).sums.merge(from.cell(d, l, e).sums);
    }
  }
}

}  // namespace detail

/// The sum of two observations, bit for bit what one pass over both calibration sets gives; commutative and associative.
/// Domains are united. Throws `errc::mismatched_states` (layers, experts, model or settings differ, or only one tells domains
/// apart), `errc::duplicate_data` (a sequence is in both), `errc::rejected_values`.
template <measure... Measures>
observation<Measures...> merge(observation<Measures...> const& a, observation<Measures...> const& b) {
  if (a.has_open_sequences()) return merge(finished(a), b);
  if (b.has_open_sequences()) return merge(a, finished(b));
  a.require_sound();
  b.require_sound();
  auto layout = a.layout();
  if (a.layers() != b.layers() || a.domains().empty() != b.domains().empty() ||
      std::any_of(a.layers().begin(), a.layers().end(), [&](int layer) { return a.experts(layer) != b.experts(layer); })) {
    throw error{errc::mismatched_states, "observations of different layers, expert counts, or with and without domains"};
  }
  layout.domains.clear();
  std::set_union(a.domains().begin(), a.domains().end(), b.domains().begin(), b.domains().end(),
                 std::back_inserter(layout.domains));
  auto provenance = detail::merged(a.provenance(), b.provenance());
  observation<Measures...> out{layout};
  out.provenance() = std::move(provenance);
  detail::merge_cells(out, a);
  detail::merge_cells(out, b);
  return out;
}

CULL_NAMESPACE_END
