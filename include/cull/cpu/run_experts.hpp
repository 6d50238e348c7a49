// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <cull/cpu/aligned_buffer.hpp>
#include <cull/cpu/expert_kernel.hpp>
#include <cull/cpu/expert_mlp.hpp>
#include <cull/cpu/read_ahead.hpp>
#include <cull/expert/expert_norms.hpp>
#include <cull/expert/run_experts.hpp>
#include <cull/expert/token_groups.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// Chosen experts over threads: an expert is one task, those with most tokens first, and the one whose turn comes next is read
/// ahead. Where they are too few to occupy the threads, one after the other with all of them.
class expert_tasks {
 public:
  expert_tasks(token_groups const& groups, std::int64_t with_weights) : with_weights_(with_weights) {
    for (std::int64_t e = 0; e < groups.experts(); ++e) {
      if (!groups.of(e).empty()) order_.push_back(e);
    }
    auto const tokens = [&](std::int64_t expert) { return groups.of(expert).size(); };
    std::sort(order_.begin(), order_.end(),
              [&](auto a, auto b) { return tokens(a) != tokens(b) ? tokens(a) > tokens(b) : a < b; });
  }

  /// Calls `body(exec, expert)`.
  template <class M, class Body>
  void run(on_cpu const& exec, std::span<gated_expert<M> const> experts, Body&& body) const {
    auto const count = static_cast<std::int64_t>(order_.size());
    bool const few = count < 2 * exec.thread_count();
    auto const ahead = few ? 1 : exec.thread_count();
    for_each_index(few ? exec.alone() : exec, count, [&](std::int64_t i) {
      if (i + ahead < count && order(i + ahead) < with_weights_) {
        read_ahead(experts[static_cast<std::size_t>(order(i + ahead))]);
      }
      body(few ? exec : exec.alone(), order(i));
    });
  }

 private:
  std::int64_t order(std::int64_t i) const { return order_[static_cast<std::size_t>(i)]; }

  std::int64_t with_weights_;
  std::vector<std::int64_t> order_;
};

/// Tokens of an expert side by side, for the reference.
inline void gather(token_rows const& from, matrix_view<float> to) {
  for (std::int64_t row = 0; row < to.rows(); ++row) from.read<f32_precision>(row, 0, to.cols(), to.row(row).data());
}
inline void put_rows(matrix_view<float const> rows, token_outputs const& out) {
  for (std::int64_t row = 0; row < rows.rows(); ++row) {
    for (std::int64_t n = 0; n < rows.cols(); ++n) out.put(row, n, rows(row, n));
  }
}

/// One expert over its tokens, by kernels or by the reference; an expert without weights gives back what it sees.
template <class Precision, class M, class Activation>
void run_expert(on_cpu const& exec, gated_expert<M> const* expert, token_rows const& x, token_outputs const& out,
                Activation const& activation) {
  if (expert != nullptr && run_by_kernel<Precision>(exec, *expert, x, out, activation)) return;
  aligned_buffer<float> in{x.size() * x.x.cols()}, y{x.size() * x.x.cols()};
  matrix_view<float> const gathered{in.data(), x.size(), x.x.cols()}, result{y.data(), x.size(), x.x.cols()};
  gather(x, gathered);
  if (expert == nullptr) return put_rows(gathered, out);
  expert_mlp<Precision>(exec, *expert, gathered, result, activation);
  put_rows(result, out);
}

}  // namespace detail

/// Tokens are read where they lie and outputs written to their place; an expert's weights are read once per batch of 128 tokens.
template <>
struct impl<run_experts_op, on_cpu> {
  template <class Precision, class M, class Activation>
  static void run(on_cpu const& exec, std::span<gated_expert<M> const> experts, matrix_view<float const> x,
                  routing<> const& chosen, matrix_view<float> outputs, Activation activation, expert_use use) {
    auto const with_weights = static_cast<std::int64_t>(experts.size());
    auto const groups = group_by_expert(chosen, with_weights + use.zero_experts);
    detail::expert_tasks{groups, with_weights}.run(exec, experts, [&](on_cpu const& with, std::int64_t e) {
      auto const* const expert = e < with_weights ? &experts[static_cast<std::size_t>(e)] : nullptr;
      if (expert != nullptr) check_expert(*expert, x.cols());
      detail::run_expert<Precision>(with, expert,
                                    {x, groups.of(e), use.gate_on_input ? chosen.weights : matrix_view<float const>{}},
                                    {outputs, groups.of(e), chosen.k()}, activation);
    });
  }

  template <class M>
  static void check_expert(gated_expert<M> const& expert, std::int64_t hidden) {
    impl<expert_mlp_op, on_cpu>::check(expert, {nullptr, 0, hidden}, {nullptr, 0, hidden});
  }
};

/// As `run_experts`, each expert by one thread, whose sums of squares go by ascending column.
template <>
struct impl<expert_norms_op, on_cpu> {
  template <class Precision, class M, class Activation>
  static void run(on_cpu const& exec, std::span<gated_expert<M> const> experts, matrix_view<float const> x,
                  routing<> const& chosen, matrix_view<double> norms, Activation activation, expert_use use) {
    auto const with_weights = static_cast<std::int64_t>(experts.size());
    auto const groups = group_by_expert(chosen, with_weights + use.zero_experts);
    detail::expert_tasks{groups, with_weights}.run(exec, experts, [&](on_cpu const& with, std::int64_t e) {
      auto const slots = groups.of(e);
      auto const* const expert = e < with_weights ? &experts[static_cast<std::size_t>(e)] : nullptr;
      if (expert != nullptr) impl<run_experts_op, on_cpu>::check_expert(*expert, x.cols());
      std::vector<double> squares(slots.size());
      detail::run_expert<Precision>(with, expert, {x, slots, use.gate_on_input ? chosen.weights : matrix_view<float const>{}},
                                    {{}, {}, 1, squares.data()}, activation);
      for (std::size_t i = 0; i < slots.size(); ++i) norms(slots[i].token, slots[i].slot) = std::sqrt(squares[i]);
    });
  }
};

/// Tokens over threads; every product of two f32 is exact in f64, so contraction changes nothing.
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
