// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <type_traits>
#include <vector>

#include <cull/tensor.hpp>

namespace {

using cull::array_view;
using cull::device_memory;
using cull::matrix_view;

struct base {
  int a;
};
struct derived : base {
  int b;
};

template <class From, class To>
constexpr bool converts = std::is_convertible_v<From, To>;

static_assert(std::is_trivially_copyable_v<array_view<double>> && std::is_trivially_copyable_v<matrix_view<double>>);
static_assert(std::is_trivially_copyable_v<array_view<int const, device_memory>>);
static_assert(std::is_same_v<array_view<int const>::value_type, int>);

static_assert(converts<array_view<int>, array_view<int const>> && !converts<array_view<int const>, array_view<int>>);
static_assert(converts<matrix_view<int>, matrix_view<int const>>);
static_assert(!converts<matrix_view<int const>, matrix_view<int>>);
static_assert(!converts<array_view<int>, array_view<long>> && !converts<matrix_view<int>, matrix_view<unsigned>>);
static_assert(!converts<array_view<derived>, array_view<base>> && !converts<matrix_view<derived>, matrix_view<base>>);

static_assert(!converts<array_view<int, device_memory>, array_view<int>>);
static_assert(!converts<array_view<int>, array_view<int, device_memory>>);
static_assert(!converts<matrix_view<int, device_memory>, matrix_view<int const>>);
static_assert(!converts<matrix_view<int>, matrix_view<int const, device_memory>>);
static_assert(converts<array_view<int, device_memory>, array_view<int const, device_memory>>);

static_assert(converts<std::vector<int>&, array_view<int>> && converts<std::vector<int>&, array_view<int const>>);
static_assert(converts<std::vector<int> const&, array_view<int const>>);
static_assert(!converts<std::vector<int> const&, array_view<int>>);
static_assert(!converts<std::vector<int>&, array_view<int, device_memory>>);

constexpr int corner_at_compile_time() {
  std::array<int, 12> values{};
  matrix_view<int> const m{values.data(), 3, 4};
  m(2, 3) = 7;
  return matrix_view<int const>{m}.rows(2, 1).row(0)[3];
}
static_assert(corner_at_compile_time() == 7);

}  // namespace

TEST_CASE("array_view: a vector's own memory, not a copy") {
  std::vector<int> values{1, 2, 3};
  array_view<int> const view = values;
  CHECK(view.data() == values.data());
  CHECK(view.size() == 3);
  CHECK(!view.empty());
  view[1] = 20;
  for (int& value : view) value += 1;
  CHECK(values == std::vector<int>{2, 21, 4});
  CHECK(view.end() - view.begin() == 3);
}

TEST_CASE("views: nothing in them by default") {
  array_view<int> const row;
  matrix_view<int> const matrix;
  CHECK(row.empty());
  CHECK(row.data() == nullptr);
  CHECK(row.begin() == row.end());
  CHECK(matrix.data() == nullptr);
  CHECK(matrix.rows() == 0);
  CHECK(matrix.cols() == 0);
  CHECK(matrix.stride() == 0);
}

TEST_CASE("matrix_view: rows lie a stride apart, in every view made from it") {
  std::vector<int> values(40);
  for (int i = 0; i < 40; ++i) values[static_cast<std::size_t>(i)] = i;
  matrix_view<int> const m{values.data() + 1, 5, 3, 7};
  matrix_view<int const> const part = m.rows(2, 3);
  CHECK(part.rows() == 3);
  CHECK(part.cols() == 3);
  CHECK(part.stride() == 7);
  for (std::int64_t row = 0; row < 5; ++row) {
    CHECK(m.row(row).size() == 3);
    for (std::int64_t col = 0; col < 3; ++col) {
      CHECK(m(row, col) == 1 + 7 * row + col);
      CHECK(m.row(row)[col] == m(row, col));
      if (row >= 2) CHECK(&part(row - 2, col) == &m(row, col));
    }
  }
}

TEST_CASE("matrix_view: without a stride the rows follow each other") {
  std::vector<int> values(6);
  matrix_view<int> const m{values.data(), 2, 3};
  CHECK(m.stride() == 3);
  CHECK(&m(1, 0) == &values[3]);
}
