// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include <cull/cuda/run_experts.hpp>
#include <cull/error.hpp>
#include <cull/expert/expert_mlp.hpp>

CULL_NAMESPACE_BEGIN

/// One expert that every token chose: formats, alignment, kernels and bits of `run_experts`.
template <simt::device_executor Exec>
struct impl<expert_mlp_op, Exec> {
  template <class Policy, matrix_format F, class Activation>
  static void run(Exec const& exec, gated_expert<matrix<F, device_memory>> const& expert,
                  matrix_view<float const, device_memory> x, matrix_view<float, device_memory> y, Activation activation) {
    if constexpr (detail::takes_weights<expert_mlp_op, F>()) run_one<Policy, F>(exec, expert, x, y, activation);
  }

 private:
  template <class Policy, detail::tiled_format F, class Activation>
  static void run_one(Exec const& exec, gated_expert<matrix<F, device_memory>> const& expert,
                      matrix_view<float const, device_memory> x, matrix_view<float, device_memory> y, Activation activation) {
    std::span<gated_expert<matrix<F, device_memory>> const> const one{&expert, 1};
    detail::shape_on_device<F>(one, x.cols());
    if (y.rows() != x.rows() || y.cols() != x.cols()) {
      throw error{errc::shape_mismatch, "expert_mlp: x " + std::to_string(x.rows()) + " x " + std::to_string(x.cols()) + ", y " +
                                            std::to_string(y.rows()) + " x " + std::to_string(y.cols()) +
                                            "; needed are x and y [tokens, hidden]"};
    }
    simt::scratch_array<std::int32_t, Exec> ids{exec, static_cast<std::size_t>(x.rows())};
    ids.clear();
    routing<device_memory> const chosen{{ids.data(), x.rows(), 1}, {nullptr, x.rows(), 1}};
    impl<run_experts_op, Exec>::template run<Policy>(exec, one, x, chosen, y, activation, expert_use{});
  }
};

CULL_NAMESPACE_END
