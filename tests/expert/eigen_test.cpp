// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include <cull/cpu/eigen.hpp>

#include "expert/matrices.hpp"

namespace {

using row_major = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

static_assert(std::is_same_v<decltype(cull::from_eigen(std::declval<row_major&>())), cull::matrix_view<float>>);
static_assert(
    std::is_same_v<decltype(cull::from_eigen(std::declval<row_major const&>())), cull::matrix_view<float const>>);
static_assert(!std::is_assignable_v<decltype(cull::as_eigen(cull::matrix_view<float const>{})(0, 0)), float>);

/// 0, 1, 2, ... so that a value is its own address.
std::vector<float> counting(std::size_t size) {
  std::vector<float> out(size);
  for (std::size_t i = 0; i < size; ++i) out[i] = static_cast<float>(i);
  return out;
}

}  // namespace

TEST_CASE("as_eigen: the same memory, rows apart by the view's stride") {
  auto memory = counting(40);
  cull::matrix_view<float> const view{memory.data() + 3, 4, 5, 9};
  auto map = cull::as_eigen(view);
  REQUIRE(map.rows() == 4);
  REQUIRE(map.cols() == 5);
  for (Eigen::Index r = 0; r < 4; ++r) {
    for (Eigen::Index c = 0; c < 5; ++c) {
      CHECK(&map(r, c) == memory.data() + 3 + 9 * r + c);
      CHECK(map(r, c) == static_cast<float>(3 + 9 * r + c));
    }
  }
  map.setConstant(-1.0f);
  for (std::size_t i = 0; i < memory.size(); ++i) {
    bool const inside = i >= 3 && (i - 3) / 9 < 4 && (i - 3) % 9 < 5;
    CHECK(memory[i] == (inside ? -1.0f : static_cast<float>(i)));
  }
}

TEST_CASE("as_eigen: values that may not be written, and other types") {
  auto const memory = counting(12);
  auto const map = cull::as_eigen(cull::matrix_view<float const>{memory.data(), 3, 4});
  CHECK(map.data() == memory.data());
  CHECK(map.sum() == 66.0f);
  std::vector<double> doubles{1, 2, 3, 4, 5, 6};
  auto wide = cull::as_eigen(cull::matrix_view<double>{doubles.data(), 2, 2, 3});
  wide *= 2.0;
  CHECK(doubles == std::vector<double>{2, 4, 3, 8, 10, 6});
  std::vector<std::int32_t> ids{3, 1, 2, 9};
  CHECK(cull::as_eigen(cull::matrix_view<std::int32_t>{ids.data(), 2, 2}).maxCoeff() == 9);
}

TEST_CASE("as_eigen: no rows") { CHECK(cull::as_eigen(cull::matrix_view<float>{nullptr, 0, 4}).size() == 0); }

TEST_CASE("from_eigen: the same memory, both ways and for fixed sizes") {
  row_major m = row_major::Random(6, 5);
  auto const view = cull::from_eigen(m);
  REQUIRE(view.rows() == 6);
  REQUIRE(view.cols() == 5);
  for (std::int64_t r = 0; r < 6; ++r) {
    for (std::int64_t c = 0; c < 5; ++c) CHECK(&view(r, c) == &m(r, c));
  }
  view(2, 3) = 42.0f;
  CHECK(m(2, 3) == 42.0f);
  CHECK(cull::as_eigen(view).data() == m.data());
  CHECK(cull::as_eigen(view) == m);

  Eigen::Matrix<double, 2, 3, Eigen::RowMajor> fixed;
  fixed << 1, 2, 3, 4, 5, 6;
  auto const of_fixed = cull::from_eigen(fixed);
  CHECK(of_fixed(1, 0) == 4.0);
  CHECK(of_fixed.row(1).data() == fixed.data() + 3);

  Eigen::RowVectorXf const one = Eigen::RowVectorXf::LinSpaced(4, 0.0f, 3.0f);
  auto const of_one = cull::from_eigen(one);
  CHECK(of_one.rows() == 1);
  CHECK(of_one.cols() == 4);
  CHECK(of_one(0, 3) == 3.0f);
}

TEST_CASE("from_eigen: a matrix of Eigen's as input and result of a product, against Eigen's own in f64") {
  row_major const x = row_major::Random(7, 30);
  row_major y = row_major::Zero(7, 11);
  auto const w = expert_test::made<cull::bf16_format>::weights(11, 30, 3);
  cull::matmul(cull::on_cpu{}, cull::from_eigen(x), expert_test::made<cull::bf16_format>::view(w), cull::from_eigen(y));
  Eigen::MatrixXd weights(11, 30);
  for (Eigen::Index n = 0; n < 11; ++n) {
    for (Eigen::Index k = 0; k < 30; ++k) weights(n, k) = static_cast<double>(w.at(n, k));
  }
  Eigen::MatrixXd const expected = x.cast<double>() * weights.transpose();
  CHECK((y.cast<double>() - expected).cwiseAbs().maxCoeff() <= 1e-6);
}
