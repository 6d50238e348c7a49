// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <cull/cpu/on_cpu.hpp>
#include <cull/cpu/route.hpp>
#include <cull/cpu/run_experts.hpp>
#include <cull/error.hpp>
#include <cull/expert/activation.hpp>
#include <cull/router/candidates.hpp>
#include <cull/saliency/block_effects.hpp>

CULL_NAMESPACE_BEGIN

/// Reference: products of two f32 are exact in f64, so contraction changes nothing.
template <>
struct impl<residual_turn_op, on_cpu> {
  static void run(on_cpu const& exec, matrix_view<float const> residual, matrix_view<float const> y, array_view<double> turns) {
    for_each_index(exec, y.rows(), [&](std::int64_t t) { turns[t] = turn(residual.row(t), y.row(t)); });
  }

 private:
  static double turn(array_view<float const> h, array_view<float const> y) {
    double hh = 0, hy = 0, yy = 0;
    for (std::int64_t i = 0; i < h.size(); ++i) {
      auto const a = static_cast<double>(h[i]), b = static_cast<double>(y[i]);
      hh += a * a;
      hy += a * b;
      yy += b * b;
    }
    double const after = (hh + 2 * hy) + yy;
    if (!(hh > 0) || !(after > 0)) return 0.0;
    return std::max(0.0, 1.0 - (hh + hy) / (std::sqrt(hh) * std::sqrt(after)));
  }
};

namespace detail {

/// Where every token would go without each of its experts: row t * k + i is token t without its choice i.
template <class Router>
void route_without(on_cpu const& exec, Router const& router, routed_block<> const& block, routing_buffer& out) {
  auto const k = block.chosen.k();
  out.resize(block.chosen.tokens() * k, k);
  auto const ids = out.ids();
  auto const weights = out.weights();
  auto const rows = block.logits.cols();
  for_each_index(exec, block.chosen.tokens(), [&](std::int64_t t) {
    std::vector<float> scores(static_cast<std::size_t>(rows)), choice(scores.size());
    std::vector<std::uint8_t> candidate(scores.size());
    for (std::int64_t i = 0; i < k; ++i) {
      auto const logits = block.logits.row(t);
      std::copy(logits.begin(), logits.end(), scores.begin());
      std::fill(candidate.begin(), candidate.end(), std::uint8_t{1});
      row_ref const row{scores, choice, candidate, ids.row(t * k + i), weights.row(t * k + i)};
      stages_on_cpu{exec.level(), row}(leave_out{block.chosen.ids(t, i)} | router);
      if (std::count(candidate.begin(), candidate.end(), std::uint8_t{1}) < k) {
        throw error{errc::out_of_range, "leave_one_out: without one expert the router has fewer than it chooses"};
      }
    }
  });
}

/// Outputs of experts that a token meets only when it is routed again.
class further_outputs {
 public:
  template <class Precision, class Layer>
  void run(on_cpu const& exec, Layer const& layer, routed_block<> const& block, routing<> const& again, Precision) {
    auto const k = block.chosen.k();
    first_.assign(1, 0);
    std::vector<std::int32_t> all;
    std::vector<float> weights, x;
    for (std::int64_t t = 0; t < block.chosen.tokens(); ++t) {
      auto const had = block.chosen.ids.row(t);
      for (std::int64_t i = 0; i < k * k; ++i) {
        auto const id = again.ids(t * k + i / k, i % k);
        bool const known = std::binary_search(had.begin(), had.end(), id) ||
                           std::find(all.begin() + static_cast<std::ptrdiff_t>(first_.back()), all.end(), id) != all.end();
        if (known) continue;
        all.push_back(id);
        weights.push_back(again.weights(t * k + i / k, i % k));
        x.insert(x.end(), block.inputs.row(t).begin(), block.inputs.row(t).end());
      }
      first_.push_back(all.size());
    }
    ids_ = std::move(all);
    width_ = block.inputs.cols();
    values_.resize(ids_.size() * static_cast<std::size_t>(width_));
    auto const pairs = static_cast<std::int64_t>(ids_.size());
    run_experts<Precision>(exec, std::span{std::as_const(layer.experts)}, matrix_view<float const>{x.data(), pairs, width_},
                           routing<>{{ids_.data(), pairs, 1}, {weights.data(), pairs, 1}},
                           matrix_view<float>{values_.data(), pairs, width_}, model_activation{layer.activation},
                           {.gate_on_input = layer.router.gate_on_input, .zero_experts = layer.router.zero_experts});
  }

  float const* find(std::int64_t token, std::int32_t id) const {
    auto const at = static_cast<std::size_t>(token);
    for (auto p = first_[at]; p < first_[at + 1]; ++p) {
      if (ids_[p] == id) return values_.data() + p * static_cast<std::size_t>(width_);
    }
    return nullptr;
  }

 private:
  std::vector<std::size_t> first_;  // of each token's
  std::vector<std::int32_t> ids_;
  std::vector<float> values_;
  std::int64_t width_ = 0;
};

}  // namespace detail

/// Reference: tokens over threads.
template <>
struct impl<leave_one_out_op, on_cpu> {
  template <class Precision, class Router, class Layer>
  static void run(on_cpu const& exec, Router const& router, Layer const& layer, routed_block<> const& block,
                  matrix_view<double> losses) {
    routing_buffer again;
    detail::route_without(exec, router, block, again);
    detail::further_outputs further;
    further.run(exec, layer, block, again.view(), Precision{});
    // Where gates went into the inputs, outputs count once.
    bool const weighted = !layer.router.gate_on_input;
    auto const real = static_cast<std::int32_t>(layer.experts.size());
    for_each_index(exec, block.chosen.tokens(), [&](std::int64_t t) {
      for (std::int64_t i = 0; i < block.chosen.k(); ++i) {
        losses(t, i) = block.chosen.ids(t, i) < real ? loss(block, again.view(), further, t, i, weighted) : 0.0;
      }
    });
  }

 private:
  static double loss(routed_block<> const& block, routing<> const& again, detail::further_outputs const& further, std::int64_t t,
                     std::int64_t without, bool weighted) {
    auto const k = block.chosen.k();
    auto const width = static_cast<std::size_t>(block.outputs.cols());
    std::vector<double> before(width), after(width);
    for (std::int64_t i = 0; i < k; ++i) {
      add(before, block.outputs.row(t * k + i).data(), weighted ? block.chosen.weights(t, i) : 1.0f);
      auto const row = t * k + without;
      add(after, output_of(block, further, t, again.ids(row, i)), weighted ? again.weights(row, i) : 1.0f);
    }
    double sum = 0;
    for (std::size_t h = 0; h < width; ++h) {
      double const change = after[h] - before[h];
      sum = std::fma(change, change, sum);  // spelled, so that no compiler flag decides about it
    }
    return sum;
  }

  static float const* output_of(routed_block<> const& block, detail::further_outputs const& further, std::int64_t t,
                                std::int32_t id) {
    auto const had = block.chosen.ids.row(t);
    auto const at = std::lower_bound(had.begin(), had.end(), id);
    if (at == had.end() || *at != id) return further.find(t, id);
    return block.outputs.row(t * block.chosen.k() + (at - had.begin())).data();
  }

  static void add(std::vector<double>& sum, float const* f, float by) {
    auto const factor = static_cast<double>(by);
    for (std::size_t h = 0; h < sum.size(); ++h) sum[h] += factor * static_cast<double>(f[h]);
  }
};

CULL_NAMESPACE_END
