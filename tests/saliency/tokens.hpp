// SPDX-License-Identifier: Apache-2.0
// Seeded routed tokens, and what is true of them by plain loops.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <numeric>
#include <random>
#include <vector>

#include <cull/saliency.hpp>

namespace saliency_test {

struct token {
  std::vector<std::int32_t> ids;
  std::vector<float> gates;
  std::vector<double> norms;
  double weight = 1;
  int sequence = 0;
  int domain = 0;
};

inline std::vector<token> make_tokens(int count, int experts, int k, unsigned seed) {
  std::mt19937 random{seed};
  std::uniform_real_distribution<double> uniform{0, 1};
  std::vector<token> out;
  for (int t = 0; t < count; ++t) {
    std::vector<std::int32_t> all(static_cast<std::size_t>(experts - 1));  // the last expert is never chosen
    std::iota(all.begin(), all.end(), 0);
    std::shuffle(all.begin(), all.end(), random);
    all.resize(static_cast<std::size_t>(k));
    std::sort(all.begin(), all.end());
    token next{all, {}, {}, t % 5 == 0 ? 6.0 : t % 7 == 0 ? 0.0 : 0.3, t / 9, (t / 9) % 2};
    for (int i = 0; i < k; ++i) {
      next.gates.push_back(static_cast<float>(uniform(random)));
      next.norms.push_back(std::exp(20 * uniform(random) - 10));
    }
    out.push_back(next);
  }
  return out;
}

/// Columns of some tokens, as `add` takes them.
struct batch {
  explicit batch(std::vector<token> const& tokens) : count(static_cast<std::int64_t>(tokens.size())) {
    for (auto const& t : tokens) {
      k = static_cast<std::int64_t>(t.ids.size());
      ids.insert(ids.end(), t.ids.begin(), t.ids.end());
      gates.insert(gates.end(), t.gates.begin(), t.gates.end());
      norms.insert(norms.end(), t.norms.begin(), t.norms.end());
      weights.push_back(t.weight);
      sequence.push_back(t.sequence);
      domain.push_back(t.domain);
    }
  }
  cull::routing<> routing() const { return {{ids.data(), count, k}, {gates.data(), count, k}}; }
  cull::matrix_view<double const> norm_view() const { return {norms.data(), count, k}; }

  std::int64_t count, k = 0;
  std::vector<std::int32_t> ids;
  std::vector<float> gates;
  std::vector<double> norms, weights;
  std::vector<int> sequence, domain;
};

template <class Observation>
void add(Observation& seen, int layer, std::vector<token> const& tokens, int threads = 1) {
  batch const b{tokens};
  cull::array_view<int const> const domain = seen.domains().empty() ? cull::array_view<int const>{} : b.domain;
  cull::add(cull::on_cpu{threads}, seen.at(layer), b.routing(),
            {.norms = b.norm_view(), .weights = b.weights, .sequence = b.sequence, .domain = domain});
}

/// Plain sums of one expert in long double.
struct sequence_sums {
  long double w = 0, g = 0, f = 0, gf = 0;
};
struct plain_sums : sequence_sums {
  std::int64_t count = 0;
  long double gf2 = 0, f2 = 0;
  double max = 0;
  std::map<int, sequence_sums> by_sequence;
};

inline plain_sums sum_up(std::vector<token> const& tokens, int expert, int domain = -1) {
  plain_sums out;
  for (auto const& t : tokens) {
    for (std::size_t i = 0; i < t.ids.size(); ++i) {
      if (t.ids[i] != expert || t.weight == 0 || (domain >= 0 && t.domain != domain)) continue;
      long double const w = t.weight, g = t.gates[i], f = t.norms[i];
      ++out.count;
      for (sequence_sums* const to : {static_cast<sequence_sums*>(&out), &out.by_sequence[t.sequence]}) {
        to->w += w;
        to->g += w * g;
        to->f += w * f;
        to->gf += w * g * f;
      }
      out.gf2 += w * g * f * g * f;
      out.f2 += w * f * f;
      out.max = std::max(out.max, t.norms[i]);
    }
  }
  return out;
}

}  // namespace saliency_test
