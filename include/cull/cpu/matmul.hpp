// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include <cull/cpu/direct_product.hpp>
#include <cull/cpu/kernels.hpp>
#include <cull/cpu/on_cpu.hpp>
#include <cull/cpu/tiled_product.hpp>
#include <cull/expert/matmul.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// Dot product of exact f32 values held as f64: eight lanes by position modulo eight, joined as a tree. The one order there is.
struct ordered_dot {
  static constexpr std::int64_t lanes = 8;

  static double run(double const* a, double const* b, std::int64_t size) noexcept {
    double sum[lanes] = {};
    std::int64_t i = 0;
    for (; i + lanes <= size; i += lanes) {
      for (std::int64_t lane = 0; lane < lanes; ++lane) sum[lane] += a[i + lane] * b[i + lane];
    }
    for (std::int64_t lane = 0; i + lane < size; ++lane) sum[lane] += a[i + lane] * b[i + lane];
    return join(sum);
  }

  /// Two tokens against one weight row: the same sums as two calls of `run`, each weight loaded once.
  static void run_pair(double const* a0, double const* a1, double const* b, std::int64_t size, double* out) noexcept {
    double first[lanes] = {};
    double second[lanes] = {};
    std::int64_t i = 0;
    for (; i + lanes <= size; i += lanes) {
      for (std::int64_t lane = 0; lane < lanes; ++lane) first[lane] += a0[i + lane] * b[i + lane];
      for (std::int64_t lane = 0; lane < lanes; ++lane) second[lane] += a1[i + lane] * b[i + lane];
    }
    for (std::int64_t lane = 0; i + lane < size; ++lane) {
      first[lane] += a0[i + lane] * b[i + lane];
      second[lane] += a1[i + lane] * b[i + lane];
    }
    out[0] = join(first);
    out[1] = join(second);
  }

 private:
  static double join(double const* s) noexcept { return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7])); }
};

}  // namespace detail

/// x packed once; strips of rows over threads, decoded into L1 and multiplied with all tokens, or in registers for few. Where
/// there is no kernel for the machine: the reference, x widened once, each weight row decoded once per batch.
template <>
struct impl<matmul_op, on_cpu> {
  template <class Precision, matrix_format F>
  static void run(on_cpu const& exec, matrix_view<float const> x, matrix<F> const& w, matrix_view<float> y) {
    // Waking threads costs some microseconds: below half a million products one is faster.
    bool const small = x.rows() * w.rows * w.cols < (std::int64_t{1} << 19);
    bool const done = detail::with_kernel<Precision>(exec, detail::weight_kind_of<F>, [&]<class Kernel>() {
      tiled(exec, small, x, Precision{}, detail::rows_of<Kernel>(w), y);
    });
    if (!done) reference<Precision>(small ? exec.alone() : exec, x, w, y);
  }

 private:
  template <class Precision, class Kernel>
  static void tiled(on_cpu const& exec, bool small, matrix_view<float const> x, Precision, detail::weight_rows<Kernel> const& w,
                    matrix_view<float> y) {
    typename detail::panel_of<Kernel>::type panel;
    panel.fill(small ? exec.alone() : exec, x.rows(), x.cols(), detail::activation_source<Precision>{x});
    detail::for_each_strip_range(exec, w.strips(), 1, small, [&](std::int64_t first, std::int64_t last) {
      detail::multiply_strips(panel, first, last, w,
                              [&](std::int64_t strip, std::int64_t tile, std::int64_t tiles, float const* sums) {
                                detail::for_each_output<Kernel>(
                                    strip, tile, tiles, w.rows, y.rows(), [&](std::int64_t t, std::int64_t n, std::int64_t at) {
                                      y(t, n) = static_cast<float>(static_cast<double>(sums[at]) * w.outer_scale);
                                    });
                              });
    });
  }

  template <class Precision, matrix_format F>
  static void reference(on_cpu const& exec, matrix_view<float const> x, matrix<F> const& w, matrix_view<float> y) {
    auto const panel = widened<Precision>(x);
    constexpr std::int64_t rows_per_task = 16;
    for_each_index(exec, (w.rows + rows_per_task - 1) / rows_per_task, [&](std::int64_t task) {
      std::vector<float> decoded(static_cast<std::size_t>(w.cols));
      std::vector<double> row(static_cast<std::size_t>(w.cols));
      for (std::int64_t n = task * rows_per_task; n < std::min((task + 1) * rows_per_task, w.rows); ++n) {
        for (std::int64_t g = 0; g < w.cols / F::group; ++g) F::decode_group(w.parts, n, g, decoded.data() + g * F::group);
        std::copy(decoded.begin(), decoded.end(), row.begin());
        multiply(panel.data(), x.rows(), row.data(), w.cols, F::outer_scale(w.parts), y, n);
      }
    });
  }

  template <class Precision>
  static std::vector<double> widened(matrix_view<float const> x) {
    std::vector<double> panel(static_cast<std::size_t>(x.rows() * x.cols()));
    auto out = panel.begin();
    for (std::int64_t t = 0; t < x.rows(); ++t) {
      for (float const value : x.row(t)) *out++ = Precision::activation(value);
    }
    return panel;
  }

  static void multiply(double const* panel, std::int64_t tokens, double const* row, std::int64_t size, double outer,
                       matrix_view<float> y, std::int64_t n) {
    std::int64_t t = 0;
    for (; t + 2 <= tokens; t += 2) {
      double sums[2];
      detail::ordered_dot::run_pair(panel + t * size, panel + (t + 1) * size, row, size, sums);
      y(t, n) = static_cast<float>(sums[0] * outer);
      y(t + 1, n) = static_cast<float>(sums[1] * outer);
    }
    if (t < tokens) y(t, n) = static_cast<float>(detail::ordered_dot::run(panel + t * size, row, size) * outer);
  }
};

CULL_NAMESPACE_END
