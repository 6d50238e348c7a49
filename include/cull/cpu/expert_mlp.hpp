// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <cull/cpu/expert_kernel.hpp>
#include <cull/cpu/matmul.hpp>
#include <cull/expert/expert_mlp.hpp>

CULL_NAMESPACE_BEGIN

/// Kernels where the machine has them, else the reference: the products, each with its bias, and the activation between them.
template <>
struct impl<expert_mlp_op, on_cpu> {
  template <class Precision, class M, class Activation>
  static void run(on_cpu const& exec, gated_expert<M> const& expert, matrix_view<float const> x, matrix_view<float> y,
                  Activation activation) {
    check(expert, x, y);
    // Waking threads costs some microseconds: below half a million products one is faster.
    bool const small = x.rows() * x.cols() * rows(expert.up) < (std::int64_t{1} << 19);
    auto const with = small ? exec.alone() : exec;
    if (!detail::run_by_kernel<Precision>(with, expert, {x}, {y}, activation))
      reference<typename detail::precision_of<Precision>::type>(with, expert, x, y, activation);
  }

  /// Throws `errc::shape_mismatch` where an expert does not fit x, y or itself.
  template <class M>
  static void check(gated_expert<M> const& expert, matrix_view<float const> x, matrix_view<float> y) {
    auto const width = rows(expert.up);
    auto const gates = rows(expert.gate);
    bool const fits = x.rows() == y.rows() && columns(expert.up) == x.cols() && columns(expert.down) == width &&
                      rows(expert.down) == y.cols() && (gates == 0 || (gates == width && columns(expert.gate) == x.cols()));
    if (!fits) {
      throw error{errc::shape_mismatch,
                  "expert_mlp: x " + std::to_string(x.rows()) + " x " + std::to_string(x.cols()) + ", gate " +
                      shape(expert.gate) + ", up " + shape(expert.up) + ", down " + shape(expert.down) + ", y " +
                      std::to_string(y.rows()) + " x " + std::to_string(y.cols()) +
                      "; needed are x and y [tokens, hidden], gate and up [width, hidden], down [hidden, width]"};
    }
    check_bias(expert.gate_bias, gates);
    check_bias(expert.up_bias, width);
    check_bias(expert.down_bias, y.cols());
  }

 private:
  template <class M>
  static std::int64_t rows(M const& m) {
    return visit_matrix(m, [](auto const& known) { return known.rows; });
  }
  template <class M>
  static std::int64_t columns(M const& m) {
    return visit_matrix(m, [](auto const& known) { return known.cols; });
  }

  template <class Precision, class M, class Activation>
  static void reference(on_cpu const& exec, gated_expert<M> const& expert, matrix_view<float const> x, matrix_view<float> y,
                        Activation activation) {
    auto const width = rows(expert.up);
    std::vector<float> inner(static_cast<std::size_t>(x.rows() * width)), gated;
    product<Precision>(exec, x, expert.up, expert.up_bias, {inner.data(), x.rows(), width});
    if (rows(expert.gate) > 0) {
      gated.resize(inner.size());
      product<Precision>(exec, x, expert.gate, expert.gate_bias, {gated.data(), x.rows(), width});
    }
    visit_activation(activation, [&](auto const& act) {
      detail::activate(exec.level(), act, gated.empty() ? nullptr : gated.data(), inner.data(),
                       static_cast<std::int64_t>(inner.size()));
    });
    product<Precision>(exec, {inner.data(), x.rows(), width}, expert.down, expert.down_bias, y);
  }

  template <class Precision, class M>
  static void product(on_cpu const& exec, matrix_view<float const> x, M const& w, array_view<float const> bias,
                      matrix_view<float> y) {
    matmul<Precision>(exec, x, w, y);
    for (std::int64_t t = 0; t < y.rows() && !bias.empty(); ++t) {
      for (std::int64_t n = 0; n < y.cols(); ++n) y(t, n) += bias[n];
    }
  }

  template <class M>
  static std::string shape(M const& m) {
    return std::to_string(rows(m)) + " x " + std::to_string(columns(m));
  }
  static void check_bias(array_view<float const> bias, std::int64_t size) {
    if (bias.empty() || bias.size() == size) return;
    throw error{errc::shape_mismatch,
                "expert_mlp: a bias has " + std::to_string(bias.size()) + " values for a product of " + std::to_string(size)};
  }
};

CULL_NAMESPACE_END
