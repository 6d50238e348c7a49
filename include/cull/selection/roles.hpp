// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/saliency/observation.hpp>

CULL_NAMESPACE_BEGIN

/// What an expert does for one domain.
struct domain_role {
  std::string domain;
  double share = 0;  ///< of the layer's sum of w * g * ||f|| over that domain's tokens
  double part = 0;   ///< `share` over the sum of the expert's shares in all domains: 1 / domains where it serves all alike
};

/// The domains that an expert serves, the one it serves most first (ties: order of names). Shares are of each domain's own total,
/// so that a domain with many tokens counts no more than others. Throws `errc::mismatched_states` where domains are not told
/// apart.
template <measure... Measures>
std::vector<domain_role> roles(observation<Measures...> const& seen, int layer, int expert) {
  if (seen.domains().empty()) {
    throw error{errc::mismatched_states, "roles: the observation does not tell domains apart; calibrate by domain"};
  }
  std::vector<domain_role> out;
  double all = 0;
  for (int d = 0; d < seen.domain_count(); ++d) {
    double total = 0;
    for (int e = 0; e < seen.experts(layer); ++e) total += seen.sums(layer, e, d).sum(gate_norm);
    double const share = total > 0 ? seen.sums(layer, expert, d).sum(gate_norm) / total : 0.0;
    out.push_back({seen.domains()[static_cast<std::size_t>(d)], share, 0});
    all += share;
  }
  for (auto& role : out) role.part = all > 0 ? role.share / all : 0.0;
  std::sort(out.begin(), out.end(),
            [](auto const& a, auto const& b) { return a.part != b.part ? a.part > b.part : a.domain < b.domain; });
  return out;
}

CULL_NAMESPACE_END
