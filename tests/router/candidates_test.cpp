// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "router/reference.hpp"

namespace {

using router_test::catch_error;
using router_test::row_buffer;

/// Candidates left by a group limit over small integers: groups ranked by sorting.
std::vector<std::uint8_t> left_by_groups(std::vector<int> const& choice, std::vector<std::uint8_t> candidate,
                                         int groups, int top, bool sum_two) {
  auto const width = choice.size() / static_cast<std::size_t>(groups);
  std::vector<std::pair<int, std::size_t>> order;
  for (std::size_t g = 0; g < static_cast<std::size_t>(groups); ++g) {
    std::vector<int> members;
    for (std::size_t e = g * width; e < (g + 1) * width; ++e) {
      if (candidate[e]) members.push_back(-choice[e]);
    }
    std::sort(members.begin(), members.end());
    int const nothing = 1000;  // masked with -inf: behind every sum there can be
    int const first = members.empty() ? nothing : members[0];
    int const both = members.size() < 2 ? nothing : members[0] + members[1];
    order.emplace_back(sum_two ? both : first, g);
  }
  std::sort(order.begin(), order.end());
  for (std::size_t place = static_cast<std::size_t>(top); place < order.size(); ++place) {
    for (std::size_t e = 0; e < width; ++e) candidate[order[place].second * width + e] = 0;
  }
  return candidate;
}

row_buffer row_of(std::vector<int> const& choice, std::vector<std::uint8_t> const& candidate) {
  row_buffer row{std::vector<float>(choice.begin(), choice.end())};
  row.candidate = candidate;
  return row;
}

void check_all_group_limits(std::vector<int> const& choice, std::vector<std::uint8_t> const& candidate) {
  for (int const groups : {2, 3}) {
    for (int top = 1; top <= groups; ++top) {
      auto summed = row_of(choice, candidate);
      cull::within_groups(groups, top, cull::sum_of_two{})(summed.ref());
      REQUIRE(summed.candidate == left_by_groups(choice, candidate, groups, top, true));
      auto best = row_of(choice, candidate);
      cull::within_groups(groups, top, cull::maximum{})(best.ref());
      REQUIRE(best.candidate == left_by_groups(choice, candidate, groups, top, false));
    }
  }
}

template <class Stage>
void refused(Stage const& stage, std::int64_t experts, cull::errc code, std::string const& text) {
  auto const problem = catch_error([&] { stage.check(experts); });
  REQUIRE(problem.thrown);
  CHECK(problem.code == code);
  CHECK_MESSAGE(problem.text.find(text) != std::string::npos, problem.text);
}

}  // namespace

TEST_CASE("within_groups: every row of six choices out of three values, every set of candidates") {
  for (int code = 0; code < 729; ++code) {
    std::vector<int> choice;
    for (int rest = code, i = 0; i < 6; ++i, rest /= 3) choice.push_back(rest % 3 - 1);
    for (unsigned mask = 0; mask < 64; ++mask) {
      std::vector<std::uint8_t> candidate;
      for (unsigned i = 0; i < 6; ++i) candidate.push_back((mask >> i) & 1u);
      check_all_group_limits(choice, candidate);
    }
  }
}

TEST_CASE("within_groups: equal groups keep the lower ones; one group, or all of them, change nothing") {
  row_buffer equal{std::vector<float>(8, 0.5f)};
  cull::within_groups(4, 2, cull::sum_of_two{})(equal.ref());
  CHECK(equal.candidate == std::vector<std::uint8_t>{1, 1, 1, 1, 0, 0, 0, 0});
  for (auto const& [groups, top] : {std::pair{1, 1}, std::pair{0, 0}, std::pair{4, 4}, std::pair{4, 9}}) {
    row_buffer row{{9, 1, 2, 3, 4, 5, 6, 7}};
    cull::within_groups(groups, top, cull::maximum{})(row.ref());
    CHECK(row.candidate == std::vector<std::uint8_t>(8, 1));
  }
}

TEST_CASE("within_groups: the two scores differ where one great expert stands alone in its group") {
  std::vector<float> const choice{5, 0, 0, 3, 3, 0};
  row_buffer summed{choice}, best{choice};
  cull::within_groups(2, 1, cull::sum_of_two{})(summed.ref());
  cull::within_groups(2, 1, cull::maximum{})(best.ref());
  CHECK(summed.candidate == std::vector<std::uint8_t>{0, 0, 0, 1, 1, 1});
  CHECK(best.candidate == std::vector<std::uint8_t>{1, 1, 1, 0, 0, 0});
}

TEST_CASE("within_groups: 64 groups, the last bit of the set included") {
  std::vector<float> choice(128, 0.0f);
  choice[127] = 2.0f;
  choice[64] = 1.0f;
  row_buffer row{choice};
  cull::within_groups(64, 2, cull::maximum{})(row.ref());
  for (std::size_t e = 0; e < 128; ++e) CHECK(row.candidate[e] == (e / 2 == 63 || e / 2 == 32));
}

TEST_CASE("within_groups: refuses groups that do not divide the experts or cannot hold their score") {
  refused(cull::within_groups(4, 2, cull::sum_of_two{}), 10, cull::errc::shape_mismatch,
          "10 experts in 4 groups (best 2)");
  refused(cull::within_groups(4, 0, cull::sum_of_two{}), 8, cull::errc::shape_mismatch, "best 0");
  refused(cull::within_groups(8, 2, cull::sum_of_two{}), 8, cull::errc::shape_mismatch, "enough experts");
  refused(cull::within_groups(65, 2, cull::maximum{}), 130, cull::errc::shape_mismatch, "at most 64");
  CHECK_NOTHROW(cull::within_groups(8, 2, cull::maximum{}).check(8));
  CHECK_NOTHROW(cull::within_groups(4, 2, cull::sum_of_two{}).check(8));
  CHECK_NOTHROW(cull::within_groups(1, 1, cull::sum_of_two{}).check(7));
}

TEST_CASE("keep_only: every set of kept experts") {
  for (unsigned mask = 0; mask < 256; ++mask) {
    std::vector<int> kept;
    std::vector<std::uint8_t> expected;
    for (int e = 0; e < 8; ++e) {
      expected.push_back((mask >> e) & 1u);
      if (expected.back()) kept.push_back(e);
    }
    row_buffer row{std::vector<float>(8, 1.0f)};
    cull::keep_only{kept}(row.ref());
    REQUIRE(row.candidate == expected);
    CHECK_NOTHROW(cull::keep_only{kept}.check(8));
  }
}

TEST_CASE("keep_only: refuses ids that do not ascend or are no experts") {
  std::vector<int> const unsorted{0, 3, 2}, twice{1, 1}, negative{-1, 2}, beyond{0, 8};
  refused(cull::keep_only{unsorted}, 8, cull::errc::out_of_range, "ids must ascend within [0, 8); entry 2 is 2");
  refused(cull::keep_only{twice}, 8, cull::errc::out_of_range, "entry 1 is 1");
  refused(cull::keep_only{negative}, 8, cull::errc::out_of_range, "entry 0 is -1");
  refused(cull::keep_only{beyond}, 8, cull::errc::out_of_range, "entry 1 is 8");
  CHECK_NOTHROW(cull::keep_only{beyond}.check(9));
}

TEST_CASE("prefer: moves the choice and leaves the scores") {
  std::vector<float> const bias{0.5f, -0.25f, 0.0f, 1e30f};
  row_buffer row{{0.25f, 0.5f, -0.0f, 1.0f}};
  row.choice.assign(4, 99.0f);
  cull::prefer{bias}(row.ref());
  CHECK(row.choice == std::vector<float>{0.75f, 0.25f, 0.0f, 1e30f});
  CHECK(row.scores == std::vector<float>{0.25f, 0.5f, -0.0f, 1.0f});
}

TEST_CASE("prefer: refuses a bias of another length or that is not finite") {
  std::vector<float> bias(7, 0.0f);
  refused(cull::prefer{bias}, 8, cull::errc::shape_mismatch, "7 bias values for 8 experts");
  refused(cull::prefer{bias}, 6, cull::errc::shape_mismatch, "7 bias values for 6 experts");
  CHECK_NOTHROW(cull::prefer{bias}.check(7));
  for (float const bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    bias[4] = bad;
    refused(cull::prefer{bias}, 7, cull::errc::not_finite, "the bias of expert 4 is not finite");
  }
}
