// SPDX-License-Identifier: Apache-2.0
// Views to and from Eigen; the only header of cull that includes it.
#pragma once

#include <Eigen/Core>
#include <type_traits>

#include <cull/tensor/view.hpp>

CULL_NAMESPACE_BEGIN

template <class T>
using eigen_matrix = Eigen::Matrix<std::remove_const_t<T>, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class T>
using eigen_map = Eigen::Map<std::conditional_t<std::is_const_v<T>, eigen_matrix<T> const, eigen_matrix<T>>, Eigen::Unaligned,
                             Eigen::OuterStride<>>;

/// The same memory as an Eigen matrix, row-major, with the view's stride; nothing is copied.
template <class T>
eigen_map<T> as_eigen(matrix_view<T> view) {
  return {view.data(), view.rows(), view.cols(), Eigen::OuterStride<>{view.stride()}};
}

/// The same memory as a view. Eigen's matrix must be row-major.
template <class Derived>
auto from_eigen(Eigen::PlainObjectBase<Derived>& m) {
  static_assert(Derived::IsRowMajor, "from_eigen: cull's matrices are row-major");
  return matrix_view<typename Derived::Scalar>{m.data(), m.rows(), m.cols(), m.outerStride()};
}
template <class Derived>
auto from_eigen(Eigen::PlainObjectBase<Derived> const& m) {
  static_assert(Derived::IsRowMajor, "from_eigen: cull's matrices are row-major");
  return matrix_view<typename Derived::Scalar const>{m.data(), m.rows(), m.cols(), m.outerStride()};
}

CULL_NAMESPACE_END
