// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cstdint>
#include <type_traits>
#include <vector>

#include "router/reference.hpp"

namespace {

using cull::operator|;  // two stages of one's own, both outside cull's namespace
using cull::row_part;
using router_test::as_given;
using router_test::row_buffer;

/// Notes the order in which stages run, and what they were asked to check.
struct noting {
  static constexpr row_part reads = row_part::logits;
  static constexpr row_part writes = row_part::none;
  int name;
  std::vector<int>* ran;
  std::vector<std::int64_t>* checked;

  void operator()(cull::row_ref) const { ran->push_back(name); }
  void check(std::int64_t experts) const { checked->push_back(experts * 10 + name); }
};

struct not_a_stage {
  void operator()(cull::row_ref) const {}
};

using scored = decltype(cull::score<cull::sigmoid>());
using complete = decltype(cull::score<cull::sigmoid>() | cull::choose(3));

static_assert(cull::row_stage<noting> && cull::row_stage<scored> && cull::row_stage<complete>);
static_assert(!cull::row_stage<int> && !cull::row_stage<not_a_stage>);
static_assert(cull::router<complete> && cull::router<cull::choose_stage> && !cull::router<scored> &&
              !cull::router<noting>);
static_assert((cull::score<cull::softmax>() | cull::choose(3)).k() == 3);
static_assert((cull::score<cull::softmax>() | cull::choose<5>() | cull::renormalize(0.0f) | cull::scale(2.0f)).k() ==
              5);

}  // namespace

TEST_CASE("row_part: a set of bits, for every pair of sets") {
  for (unsigned a = 0; a < 256; ++a) {
    for (unsigned b = 0; b < 256; ++b) {
      bool subset = true, meet = false;
      for (unsigned bit = 1; bit < 256; bit *= 2) {
        subset = subset && (a / bit % 2 == 1 || b / bit % 2 == 0);
        meet = meet || (a / bit % 2 == 1 && b / bit % 2 == 1);
      }
      auto const left = static_cast<row_part>(a), right = static_cast<row_part>(b);
      REQUIRE(cull::includes(left, right) == subset);
      REQUIRE(cull::overlap(left, right) == meet);
      REQUIRE(cull::includes(left | right, left));
      REQUIRE(cull::includes(left | right, right));
    }
  }
}

TEST_CASE("composed: stages run and check in the order written, however they are nested") {
  std::vector<int> ran;
  std::vector<std::int64_t> checked;
  noting const a{1, &ran, &checked}, b{2, &ran, &checked}, c{3, &ran, &checked};
  row_buffer row{{0.5f, 0.25f}};
  auto const left = (a | b) | c;
  auto const right = a | (b | c);
  left(row.ref());
  right(row.ref());
  CHECK(ran == std::vector<int>{1, 2, 3, 1, 2, 3});
  left.check(7);
  right.check(8);
  CHECK(checked == std::vector<std::int64_t>{71, 72, 73, 81, 82, 83});
}

TEST_CASE("composed: what it reads and writes, and must precede, is what its parts do") {
  CHECK(complete::reads == row_part::logits);
  CHECK(complete::writes == (row_part::scores | row_part::choice | row_part::chosen));
  CHECK(complete::before == (row_part::scores | row_part::chosen));
  std::vector<int> const kept{0};
  using nested = decltype(cull::keep_only(kept) | cull::score<cull::softmax>());
  CHECK(nested::reads == row_part::logits);
  CHECK(nested::writes == (row_part::candidates | row_part::scores | row_part::choice));
  CHECK(nested::before == (row_part::scores | row_part::chosen));
}

TEST_CASE("composed: k is that of the stage that chooses, wherever it stands") {
  auto const tail = cull::choose(2) | cull::renormalize(0.0f);
  CHECK(tail.k() == 2);
  CHECK((cull::score(as_given{}) | tail).k() == 2);
  row_buffer row{{3.0f, 1.0f, 4.0f}, 2};
  (cull::score(as_given{}) | tail)(row.ref());
  CHECK(row.ids == std::vector<std::int32_t>{0, 2});
  CHECK(row.weights == std::vector<float>{3.0f / 7.0f, 4.0f / 7.0f});
}
