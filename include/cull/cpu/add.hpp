// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>

#include <cull/cpu/on_cpu.hpp>
#include <cull/error.hpp>
#include <cull/expert/token_groups.hpp>
#include <cull/saliency/add.hpp>

CULL_NAMESPACE_BEGIN

/// Reference: tokens grouped by expert, experts spread over threads, so that no two threads share a sum.
template <>
struct impl<add_op, on_cpu> {
  template <measure... Measures>
  static void run(on_cpu const& exec, observation_slot<Measures...> to, routing<> const& chosen, routed_tokens<> const& tokens) {
    check(to, chosen, tokens);
    auto const groups = group_by_expert(chosen, static_cast<std::int64_t>(to.experts()) + tokens.zero_experts);
    for_each_index(exec, to.experts(), [&](std::int64_t expert) {
      for (auto const [token, slot] : groups.of(expert)) {
        double const share = tokens.weights.empty() ? 1.0 : tokens.weights[token];
        if (share == 0) continue;
        int const domain = tokens.domain.empty() ? 0 : tokens.domain[token];
        routed_token const seen{share, static_cast<double>(chosen.weights(token, slot)), tokens.norms(token, slot),
                                tokens.turns.empty() ? 0.0 : tokens.turns[token],
                                tokens.losses.rows() == 0 ? 0.0 : tokens.losses(token, slot)};
        auto& cell = to.cell(static_cast<int>(expert), domain);
        sink<std::remove_reference_t<decltype(cell)>> into{cell, tokens.sequence.empty() ? nullptr : &tokens.sequence[token]};
        detail::add_one<Measures...>(seen, into);
      }
    });
  }

 private:
  template <class Cell>
  struct sink {
    Cell& cell;
    int const* sequence;

    template <measure M>
    sum_status add(M m, double value) {
      return cell.sums.state(m).try_add(value);
    }
    bool add_cluster(double const* values) {
      if (sequence == nullptr) return cell.sums.clusters().try_add(values);
      return cell.open.try_add(*sequence, values) == sum_status::added;
    }
    void reject() { ++cell.rejected; }
  };

  template <measure... Measures>
  static void check(observation_slot<Measures...> to, routing<> const& chosen, routed_tokens<> const& tokens) {
    for (std::int64_t t = 0; t < chosen.tokens(); ++t) {
      if (!tokens.weights.empty() && !(tokens.weights[t] >= 0 && std::isfinite(tokens.weights[t]))) {
        throw error{errc::out_of_range, "add: the weight of token " + std::to_string(t) + " must be finite and not negative"};
      }
      if (!tokens.domain.empty() && (tokens.domain[t] < 0 || tokens.domain[t] >= to.domains())) {
        throw error{errc::out_of_range, "add: token " + std::to_string(t) + " is of domain " + std::to_string(tokens.domain[t]) +
                                            " of " + std::to_string(to.domains())};
      }
    }
  }
};

CULL_NAMESPACE_END
