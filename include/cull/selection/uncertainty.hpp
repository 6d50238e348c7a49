// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/saliency/observation.hpp>
#include <cull/selection/select.hpp>

CULL_NAMESPACE_BEGIN

struct uncertainty_options {
  double deviations = 1.96;      ///< half width of an interval in standard errors; 1.96: 95 % where scores are normal
  std::int64_t few_tokens = 32;  ///< an expert with fewer routed tokens starves
};

/// What the calibration set can say about the cut of one layer, another set of the same kind being as likely.
struct cut_uncertainty {
  int layer = 0;
  std::vector<double> errors;  ///< standard error of every expert's score; empty: this criterion has none
  /// Statistically tied at the cut: experts whose interval reaches the middle between the last kept and the first dropped score
  /// of their group; ascending. Protected experts are not among them.
  std::vector<int> unsettled;
  std::vector<int> starving;  ///< with few tokens (never chosen among them); ascending
  /// How many more sequences like those seen would bring every interval off the cut, errors shrinking with the root of their
  /// number; 0: none is needed, infinite: scores at the cut are equal.
  double sequences_to_settle = 0;
};

namespace detail {

/// Adds what one group's cut says.
inline void judge_group(layer_selection const& cut, cut_uncertainty& out, int first, int size, double sequences,
                        uncertainty_options const& o) {
  auto const sides = sides_of(cut, first, size);
  if (!sides.is_cut()) return;
  double const middle = sides.low + (sides.high - sides.low) / 2;
  for (int e = first; e < first + size; ++e) {
    auto const at = static_cast<std::size_t>(e);
    double const reach = o.deviations * out.errors[at];
    double const distance = std::abs(cut.scores[at] - middle);
    if (distance > reach || std::binary_search(cut.rescued.begin(), cut.rescued.end(), e)) continue;
    if (reach == 0 && sides.low != sides.high) continue;
    out.unsettled.push_back(e);
    double const ratio = distance > 0 ? reach / distance : std::numeric_limits<double>::infinity();
    out.sequences_to_settle = std::max(out.sequences_to_settle, std::ceil(sequences * (ratio * ratio) - sequences));
  }
}

}  // namespace detail

/// Standard errors of a layer's scores and what they mean for its cut. `error_of(sums, sequences)` gives the standard error of
/// one expert's score, such as `criteria::reap.error`; `sequences`: how many the observation has seen (its provenance's, or
/// more). Errors count sequences as independent and tokens within one as not (see `expert_sums`). The cut itself is taken as
/// given: its place, an order statistic of many scores, moves less than one score does.
template <measure... Measures, class ErrorOf>
cut_uncertainty uncertainty(observation<Measures...> const& seen, layer_selection const& cut, ErrorOf&& error_of,
                            std::int64_t sequences, uncertainty_options const& options = {}) {
  cut_uncertainty out;
  out.layer = cut.layer;
  for (int e = 0; e < cut.experts; ++e) {
    auto const sums = seen.sums(cut.layer, e);
    if (sums.count() < options.few_tokens) out.starving.push_back(e);
    out.errors.push_back(error_of(sums, sequences));
  }
  int const size = cut.experts / cut.groups;
  for (int first = 0; first < cut.experts; first += size) {
    detail::judge_group(cut, out, first, size, static_cast<double>(sequences), options);
  }
  return out;
}

CULL_NAMESPACE_END
