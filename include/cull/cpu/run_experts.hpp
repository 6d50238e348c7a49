// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include <cull/cpu/expert_mlp.hpp>
#include <cull/expert/run_experts.hpp>
#include <cull/expert/token_groups.hpp>

CULL_NAMESPACE_BEGIN

/// Reference: an expert is one task; its tokens are gathered, run together and scattered.
template <>
struct impl<run_experts_op, on_cpu> {
  template <class Precision, class M, class Activation>
  static void run(on_cpu const& exec, std::span<gated_expert<M> const> experts, matrix_view<float const> x,
                  routing<> const& chosen, matrix_view<float> outputs, Activation activation, expert_use use) {
    auto const with_weights = static_cast<std::int64_t>(experts.size());
    auto const groups = group_by_expert(chosen, with_weights + use.zero_experts);
    auto alone = exec;
    alone.threads = 1;
    for_each_index(exec, groups.experts(), [&](std::int64_t expert) {
      auto const slots = groups.of(expert);
      if (slots.empty()) return;
      auto const tokens = static_cast<std::int64_t>(slots.size());
      std::vector<float> in(slots.size() * static_cast<std::size_t>(x.cols()));
      matrix_view<float> const gathered{in.data(), tokens, x.cols()};
      gather(x, chosen, slots, use.gate_on_input, gathered);
      if (expert >= with_weights) return scatter(gathered, slots, chosen.k(), outputs);
      std::vector<float> out(in.size());
      matrix_view<float> const result{out.data(), tokens, x.cols()};
      expert_mlp<Precision>(alone, experts[static_cast<std::size_t>(expert)], gathered, result, activation);
      scatter(result, slots, chosen.k(), outputs);
    });
  }

 private:
  static void gather(matrix_view<float const> x, routing<> const& chosen, std::span<token_slot const> slots, bool weighted,
                     matrix_view<float> to) {
    std::int64_t row = 0;
    for (auto const [token, slot] : slots) {
      auto const from = x.row(token);
      auto const into = to.row(row++);
      float const factor = weighted ? chosen.weights(token, slot) : 1.0f;
      for (std::int64_t h = 0; h < from.size(); ++h) into[h] = weighted ? factor * from[h] : from[h];
    }
  }

  static void scatter(matrix_view<float const> from, std::span<token_slot const> slots, std::int64_t k,
                      matrix_view<float> outputs) {
    std::int64_t row = 0;
    for (auto const [token, slot] : slots) {
      auto const values = from.row(row++);
      std::copy(values.begin(), values.end(), outputs.row(token * k + slot).begin());
    }
  }
};

/// Reference: tokens over threads; every product of two f32 is exact in f64, so contraction changes nothing.
template <>
struct impl<combine_op, on_cpu> {
  static void run(on_cpu const& exec, routing<> const& chosen, matrix_view<float const> outputs, matrix_view<float> y,
                  matrix_view<double> norms) {
    constexpr std::int64_t chunk = 32;
    for_each_index(exec, (chosen.tokens() + chunk - 1) / chunk, [&](std::int64_t c) {
      std::vector<double> sum(static_cast<std::size_t>(outputs.cols()));
      for (std::int64_t t = c * chunk; t < std::min((c + 1) * chunk, chosen.tokens()); ++t) {
        std::fill(sum.begin(), sum.end(), 0.0);
        for (std::int64_t i = 0; i < chosen.k(); ++i) {
          auto const f = outputs.row(t * chosen.k() + i);
          norms(t, i) = add_weighted(f, static_cast<double>(chosen.weights(t, i)), sum);
        }
        std::transform(sum.begin(), sum.end(), y.row(t).begin(), [](double s) { return static_cast<float>(s); });
      }
    });
  }

 private:
  /// sum += factor * f; returns ||f||.
  static double add_weighted(array_view<float const> f, double factor, std::vector<double>& sum) {
    double squares = 0;
    for (std::int64_t h = 0; h < f.size(); ++h) {
      auto const value = static_cast<double>(f[h]);
      sum[static_cast<std::size_t>(h)] += factor * value;
      squares += value * value;
    }
    return std::sqrt(squares);
  }
};

CULL_NAMESPACE_END
