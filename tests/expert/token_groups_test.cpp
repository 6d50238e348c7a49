// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "expert/matrices.hpp"

namespace {

using expert_test::catch_error;

/// Ids of `tokens` tokens; `skipped` experts at the end are never chosen.
std::vector<std::int32_t> random_ids(std::int64_t tokens, std::int64_t k, std::int64_t experts, std::int64_t skipped,
                                     unsigned seed) {
  expert_test::source from{seed};
  std::vector<std::int32_t> out;
  for (std::int64_t i = 0; i < tokens * k; ++i) {
    out.push_back(static_cast<std::int32_t>(from.bits() % static_cast<unsigned>(experts - skipped)));
  }
  return out;
}

std::vector<std::pair<std::int64_t, std::int64_t>> slots_of(cull::token_groups const& groups, std::int64_t expert) {
  std::vector<std::pair<std::int64_t, std::int64_t>> out;
  for (auto const& slot : groups.of(expert)) out.emplace_back(slot.token, slot.slot);
  return out;
}

void check_by_search(std::int64_t tokens, std::int64_t k, std::int64_t experts, unsigned seed) {
  auto const ids = random_ids(tokens, k, experts, experts > 1 ? 1 : 0, seed);
  std::vector<float> const weights(ids.size());
  cull::routing<> const chosen{{ids.data(), tokens, k}, {weights.data(), tokens, k}};
  auto const groups = cull::group_by_expert(chosen, experts);
  REQUIRE(groups.experts() == experts);
  for (std::int64_t e = 0; e < experts; ++e) {
    std::vector<std::pair<std::int64_t, std::int64_t>> expected;
    for (std::int64_t i = 0; i < tokens * k; ++i) {
      if (ids[static_cast<std::size_t>(i)] == e) expected.emplace_back(i / k, i % k);
    }
    REQUIRE(slots_of(groups, e) == expected);
  }
}

expert_test::caught grouping(std::vector<std::int32_t> const& ids, std::int64_t experts) {
  std::vector<float> const weights(ids.size());
  auto const tokens = static_cast<std::int64_t>(ids.size()) / 2;
  return catch_error([&] { cull::group_by_expert({{ids.data(), tokens, 2}, {weights.data(), tokens, 2}}, experts); });
}

}  // namespace

TEST_CASE("token_groups: who goes where, by searching the whole routing for every expert") {
  unsigned seed = 0;
  for (std::int64_t const tokens : {0, 1, 2, 9, 200}) {
    for (std::int64_t const k : {1, 2, 8}) {
      for (std::int64_t const experts : {1, 3, 64}) check_by_search(tokens, k, experts, ++seed);
    }
  }
}

TEST_CASE("token_groups: ids in rows apart") {
  std::vector<std::int32_t> const ids{1, 3, -9, 0, 1, 99, 1, 2, 7};
  std::vector<float> const weights(9);
  cull::routing<> const chosen{{ids.data(), 3, 2, 3}, {weights.data(), 3, 2, 3}};
  auto const groups = cull::group_by_expert(chosen, 4);
  using slots = std::vector<std::pair<std::int64_t, std::int64_t>>;
  CHECK(slots_of(groups, 0) == slots{{1, 0}});
  CHECK(slots_of(groups, 1) == slots{{0, 0}, {1, 1}, {2, 0}});
  CHECK(slots_of(groups, 2) == slots{{2, 1}});
  CHECK(slots_of(groups, 3) == slots{{0, 1}});
}

TEST_CASE("token_groups: refuses ids that are no experts, and names the token") {
  CHECK_FALSE(grouping({0, 1, 2, 3}, 4).thrown);
  auto const beyond = grouping({0, 1, 2, 4}, 4);
  CHECK(beyond.code == cull::errc::out_of_range);
  CHECK(beyond.text == "routing: token 1 goes to expert 4 of 4");
  CHECK(grouping({0, -1}, 4).text == "routing: token 0 goes to expert -1 of 4");
  CHECK(grouping({0, std::numeric_limits<std::int32_t>::min()}, 4).code == cull::errc::out_of_range);
  CHECK(grouping({0, std::numeric_limits<std::int32_t>::max()}, 4).code == cull::errc::out_of_range);
  CHECK(grouping({0, 0}, 0).code == cull::errc::out_of_range);
}
