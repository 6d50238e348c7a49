// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include <cull/cpu/matmul.hpp>
#include <cull/cpu/x86/silu.hpp>
#include <cull/expert/expert_mlp.hpp>

CULL_NAMESPACE_BEGIN

/// Reference: the products, each with its bias, and the activation between them.
template <>
struct impl<expert_mlp_op, on_cpu> {
  template <class Precision, class M, class Activation>
  static void run(on_cpu const& exec, gated_expert<M> const& expert, matrix_view<float const> x, matrix_view<float> y,
                  Activation activation) {
    auto const width = rows(expert.up);
    std::vector<float> inner(static_cast<std::size_t>(x.rows() * width));
    matrix_view<float> const hidden{inner.data(), x.rows(), width};
    product<Precision>(exec, x, expert.up, expert.up_bias, hidden);
    if (rows(expert.gate) > 0) {
      std::vector<float> gated(inner.size());
      product<Precision>(exec, x, expert.gate, expert.gate_bias, {gated.data(), x.rows(), width});
      constexpr std::int64_t piece = std::int64_t{1} << 16;
      auto const size = static_cast<std::int64_t>(inner.size());
      for_each_index(exec, (size + piece - 1) / piece, [&](std::int64_t p) {
        auto const first = p * piece;
        visit_activation(activation, [&](auto const& act) {
          activate(exec.level(), act, gated.data() + first, inner.data() + first, std::min(piece, size - first));
        });
      });
    } else {
      check_bias(expert.gate_bias, 0);
      visit_activation(activation, [&](auto const& act) { activate(act, inner); });
    }
    product<Precision>(exec, hidden, expert.down, expert.down_bias, y);
  }

 private:
  template <class M>
  static std::int64_t rows(M const& m) {
    return visit_matrix(m, [](auto const& known) { return known.rows; });
  }

  template <class Precision, class M>
  static void product(on_cpu const& exec, matrix_view<float const> x, M const& w, array_view<float const> bias,
                      matrix_view<float> y) {
    if (!bias.empty()) check_bias(bias, y.cols());
    matmul<Precision>(exec, x, w, y);
    for (std::int64_t t = 0; t < y.rows() && !bias.empty(); ++t) {
      for (std::int64_t n = 0; n < y.cols(); ++n) y(t, n) += bias[n];
    }
  }

  template <class Activation>
  static void activate([[maybe_unused]] isa level, Activation const& act, float const* gated, float* inner, std::int64_t size) {
#if CULL_X86
    if constexpr (std::is_same_v<Activation, silu>) {
      if (level >= isa::avx512) return detail::multiply_by_silu_avx512(gated, inner, size);
    }
#endif
    if constexpr (std::is_invocable_v<Activation const&, float, float>) {
      for (std::int64_t i = 0; i < size; ++i) inner[i] = act(gated[i], inner[i]);
    } else {
      throw error{errc::out_of_range, "expert_mlp: the expert has a gate, and the activation takes one argument only"};
    }
  }

  template <class Activation>
  static void activate(Activation const& act, std::vector<float>& inner) {
    if constexpr (std::is_invocable_v<Activation const&, float>) {
      for (auto& value : inner) value = act(value);
    } else {
      throw error{errc::out_of_range, "expert_mlp: the expert has no gate, and the activation takes (gate, up) only"};
    }
  }

  static void check_bias(array_view<float const> bias, std::int64_t size) {
    if (bias.size() == size) return;
    throw error{errc::shape_mismatch,
                "expert_mlp: a bias has " + std::to_string(bias.size()) + " values for a product of " + std::to_string(size)};
  }
};

CULL_NAMESPACE_END
