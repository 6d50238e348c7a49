// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/saliency/observation.hpp>
#include <cull/selection/top_k.hpp>

CULL_NAMESPACE_BEGIN

/// Experts that stay whatever their score: ids, ascending, by layer number.
using protected_experts = std::map<int, std::vector<int>>;

/// How many of the best of a layer are protected.
struct best_of {
  int experts = 0;
};

/// The union of two protections, layer by layer.
inline protected_experts united(protected_experts a, protected_experts const& b) {
  for (auto const& [layer, ids] : b) {
    std::vector<int> both;
    std::set_union(a[layer].begin(), a[layer].end(), ids.begin(), ids.end(), std::back_inserter(both));
    a[layer] = std::move(both);
  }
  return a;
}

/// The most often chosen experts of each layer by sum of token weights, ties to the lower id. A layer with fewer experts is
/// protected whole. It changes the criterion: rare and strong experts go for frequent and weak ones.
template <measure... Measures>
protected_experts protect_frequent(observation<Measures...> const& seen, best_of n) {
  protected_experts out;
  for (int const layer : seen.layers()) {
    std::vector<double> weights;
    for (int e = 0; e < seen.experts(layer); ++e) weights.push_back(seen.sums(layer, e).sum(weight));
    out[layer] = top_k(weights, std::min(n.experts, seen.experts(layer)));
  }
  return out;
}

/// The best experts of each layer by every domain's own sums, so that no domain loses the experts that serve it most. An expert
/// that a domain never chose is not protected by it. Throws `errc::mismatched_states` where domains are not told apart.
template <measure... Measures, class Criterion>
protected_experts protect_domains(observation<Measures...> const& seen, Criterion&& score_of, best_of n) {
  if (seen.domains().empty()) {
    throw error{errc::mismatched_states, "protect_domains: the observation does not tell domains apart; calibrate by domain"};
  }
  protected_experts out;
  for (int domain = 0; domain < seen.domain_count(); ++domain) {
    protected_experts own;
    for (int const layer : seen.layers()) {
      std::vector<double> scores;
      for (int e = 0; e < seen.experts(layer); ++e) {
        scores.push_back(static_cast<double>(score_of(seen.sums(layer, e, domain))));
      }
      auto& best = own[layer] = top_k(scores, std::min(n.experts, seen.experts(layer)));
      std::erase_if(best, [&](int e) { return !(seen.sums(layer, e, domain).sum(weight) > 0); });
    }
    out = united(std::move(out), own);
  }
  return out;
}

CULL_NAMESPACE_END
