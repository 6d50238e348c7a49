// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <string>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/executor.hpp>
#include <cull/expert/precision.hpp>
#include <cull/tensor/any_matrix.hpp>
#include <cull/tensor/matrix.hpp>
#include <cull/tensor/view.hpp>

CULL_NAMESPACE_BEGIN

struct matmul_op;

/// y = x * w^T: x [tokens, K] f32, w [N, K] in any format, y [tokens, N] f32.
///
/// Every output sums its K products in one fixed order whatever the batch, the tile, the threads or the compiler's flags, so a token's
/// row has the same bits alone and in company. Weights are decoded exactly; the matrix's outer scale multiplies the finished sum in
/// f64, which is rounded to f32 once. `f32_precision` sums in chains of f32 FMA, `bf16_precision` in f32 from products of bf16 pairs
/// where the executor has them; the reference (`isa::portable`) sums exact products in f64. Throws `errc::shape_mismatch`.
template <class Precision = f32_precision, class Exec, class X, class W>
  requires std::same_as<std::remove_const_t<X>, float> && implemented_on<matmul_op, Exec>
void matmul(Exec const& exec, matrix_view<X, typename Exec::memory_space> x, W const& w,
            matrix_view<float, typename Exec::memory_space> y) {
  static_assert(detail::matrix_of<W, Exec>, "matmul: the weights lie in another memory than the executor works on");
  visit_matrix(w, [&]<class F>(matrix<F, typename Exec::memory_space> const& m) {
    if (x.cols() != m.cols || y.rows() != x.rows() || y.cols() != m.rows || m.cols % F::group != 0) {
      throw error{errc::shape_mismatch, "matmul: x " + std::to_string(x.rows()) + " x " + std::to_string(x.cols()) + ", w " +
                                            std::to_string(m.rows) + " x " + std::to_string(m.cols) + ", y " +
                                            std::to_string(y.rows()) + " x " + std::to_string(y.cols()) +
                                            "; needed are x [tokens, K], w [N, K], y [tokens, N]"};
    }
    impl<matmul_op, Exec>::template run<Precision>(exec, matrix_view<float const, typename Exec::memory_space>{x}, m, y);
  });
}

CULL_NAMESPACE_END
