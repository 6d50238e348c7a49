// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "router/reference.hpp"

namespace {

using router_test::catch_error;
using router_test::logits_block;

constexpr int experts = 32;
constexpr int groups = 4;
constexpr int k = 4;

/// `each` experts of every group of eight.
std::vector<int> equal_keep_set(int each, unsigned seed) {
  router_test::source from{seed};
  std::vector<int> out;
  for (int group = 0; group < groups; ++group) {
    std::set<int> members;
    while (static_cast<int>(members.size()) < each) members.insert(group * 8 + from.below(8));
    out.insert(out.end(), members.begin(), members.end());
  }
  return out;
}

std::vector<float> gathered(std::vector<float> const& all, std::vector<int> const& kept) {
  std::vector<float> out;
  if (all.empty()) return out;
  for (int const id : kept) out.push_back(all[static_cast<std::size_t>(id)]);
  return out;
}

/// The sliced router's ids are positions in `kept`.
bool same_after_mapping(cull::routing<> const& masked, cull::routing<> const& sliced, std::vector<int> const& kept) {
  for (std::int64_t t = 0; t < masked.tokens(); ++t) {
    for (std::int64_t i = 0; i < masked.k(); ++i) {
      if (masked.ids(t, i) != kept[static_cast<std::size_t>(sliced.ids(t, i))]) return false;
    }
  }
  return router_test::same_bits(masked.weights, sliced.weights);
}

/// What dropped experts have, and must not matter; 0: what they had.
struct temptation {
  float bias;
  float logit;
};

void tempt(temptation with, std::vector<int> const& kept, std::vector<float>& bias, logits_block& logits) {
  for (int e = 0; e < experts; ++e) {
    if (std::find(kept.begin(), kept.end(), e) != kept.end()) continue;
    if (!bias.empty() && with.bias != 0) bias[static_cast<std::size_t>(e)] = with.bias;
    for (std::int64_t t = 0; with.logit != 0 && t < logits.tokens; ++t) {
      logits.values[static_cast<std::size_t>(t * experts + e)] = with.logit;
    }
  }
}

struct bias_pair {
  std::vector<float> correction, logit;
};

void compare_with_slice(cull::router_settings const& s, bias_pair const& bias, logits_block const& logits,
                        std::vector<int> const& kept) {
  auto const masked =
      router_test::routed(cull::keep_only{kept} | cull::model_router{s, bias.correction, bias.logit}, logits);
  bias_pair const rows{gathered(bias.correction, kept), gathered(bias.logit, kept)};
  auto const sliced =
      router_test::routed(cull::model_router{s, rows.correction, rows.logit}, router_test::columns(logits, kept));
  REQUIRE(same_after_mapping(masked.view(), sliced.view(), kept));
}

void compare_with_reference(cull::router_settings const& s, bias_pair const& bias, logits_block const& logits,
                            std::vector<int> const& kept, int& compared) {
  auto const got =
      router_test::routed(cull::keep_only{kept} | cull::model_router{s, bias.correction, bias.logit}, logits);
  for (std::int64_t t = 0; t < logits.tokens; ++t) {
    auto const expected = router_test::reference_route(logits.row(t), s, bias.correction, kept, bias.logit);
    if (expected.gap < 1e-5) continue;
    ++compared;
    for (std::size_t i = 0; i < k; ++i) {
      REQUIRE(got.view().ids(t, static_cast<std::int64_t>(i)) == expected.ids[i]);
    }
    REQUIRE(router_test::close_weights(expected, got.view().weights.row(t)));
  }
}

template <class Check>
void for_every_case(std::int64_t tokens, Check const& check) {
  temptation const temptations[] = {{0, 0}, {1e30f, 0}, {-1e30f, 0}, {0, 80}, {1e30f, 1e30f}, {0.5f, -1e30f}};
  unsigned seed = 100;
  auto settings = router_test::every_setting(k, groups, 2);
  for (auto const& s : router_test::every_other_setting(k, groups, 2)) settings.push_back(s);
  for (auto const& s : settings) {
    for (int const each : {2, 5}) {
      for (auto const& with : temptations) {
        for (bool const biased : {false, true}) {
          router_test::source from{++seed};
          auto const kept = equal_keep_set(each, seed);
          bias_pair bias{biased ? from.values(experts, -0.3f, 0.3f) : std::vector<float>{},
                         seed % 3 == 0 ? from.values(experts, -1.0f, 1.0f) : std::vector<float>{}};
          auto logits = router_test::random_logits(tokens, experts, seed);
          tempt(with, kept, bias.correction, logits);
          tempt(with, kept, bias.logit, logits);
          CAPTURE(router_test::describe(s));
          CAPTURE(each);
          check(s, bias, logits, kept);
        }
      }
    }
  }
}

}  // namespace

TEST_CASE("keep_only then model_router: the bits of the pruned router, whatever the dropped experts are") {
  for_every_case(20, compare_with_slice);
}

TEST_CASE("keep_only then model_router: f64 over the kept experts alone, whatever the dropped experts are") {
  int compared = 0;
  for_every_case(5, [&](auto const& s, auto const& bias, auto const& logits, auto const& kept) {
    compare_with_reference(s, bias, logits, kept, compared);
  });
  CHECK(compared > 3500);
}

TEST_CASE("with_zero_experts: pruning leaves the zero-compute rows, and routes as keep_only over the rows that stay") {
  std::vector<int> const kept{1, 3, 4};
  CHECK(cull::with_zero_experts(kept, 6, 2) == std::vector<int>{1, 3, 4, 6, 7});
  CHECK(cull::with_zero_experts(kept, 6, 0) == kept);
  CHECK(catch_error([&] { cull::with_zero_experts(kept, 4, 2); }).text == "with_zero_experts: expert 4 of 4");
  cull::router_settings const s{.top_k = 3, .scaling = 6.0f, .zero_experts = 2};
  auto const rows = cull::with_zero_experts(kept, 6, 2);
  auto const logits = router_test::random_logits(40, 8, 53);
  compare_with_slice(s, {router_test::source{54}.values(8, -0.2f, 0.2f), {}}, logits, rows);
}

TEST_CASE("keep_only: ties and whole keep-sets") {
  cull::router_settings const s{.top_k = 3, .renormalize = cull::renormalization::on};
  logits_block const flat{std::vector<float>(8, 1.0f), 1, 8};
  std::vector<int> const kept{1, 4, 5, 7};
  auto const got = router_test::routed(cull::keep_only{kept} | cull::model_router{s, {}}, flat);
  CHECK(got.view().ids(0, 0) == 1);
  CHECK(got.view().ids(0, 1) == 4);
  CHECK(got.view().ids(0, 2) == 5);
  auto const all = router_test::all_of(experts);
  auto const logits = router_test::random_logits(50, experts, 41);
  CHECK(router_test::same_bits(router_test::routed(cull::keep_only{all} | cull::model_router{s, {}}, logits).view(),
                               router_test::routed(cull::model_router{s, {}}, logits).view()));
}

TEST_CASE("keep_only then model_router: too few experts left, or none") {
  cull::router_settings const s{.top_k = 3};
  auto const logits = router_test::random_logits(4, 8, 43);
  std::vector<int> const two{1, 6}, nobody;
  auto const few = catch_error([&] { router_test::routed(cull::keep_only{two} | cull::model_router{s, {}}, logits); });
  CHECK(few.code == cull::errc::out_of_range);
  CHECK(few.text == "route: token 0 has 2 eligible experts and needs 3; keep more experts per group");
  auto const none = catch_error([&] {
    router_test::routed(cull::keep_only{nobody} | cull::model_router{s, {}}, logits);
  });
  CHECK(none.text.find("has 0 eligible experts") != std::string::npos);
}

TEST_CASE("slice_router: rows of any width are gathered byte by byte, in the order asked") {
  router_test::source from{47};
  for (std::size_t const width : {std::size_t{1}, std::size_t{2}, std::size_t{7}, std::size_t{256}}) {
    std::vector<std::byte> source(12 * width);
    for (auto& b : source) b = static_cast<std::byte>(from.below(256));
    std::vector<int> const kept{0, 3, 11, 4};
    auto const got = cull::slice_router(source, 12, kept);
    REQUIRE(got.size() == 4 * width);
    for (std::size_t i = 0; i < got.size(); ++i) {
      REQUIRE(got[i] == source[static_cast<std::size_t>(kept[i / width]) * width + i % width]);
    }
  }
  CHECK(cull::slice_router(std::vector<std::byte>(8), 4, std::vector<int>{}).empty());
}

TEST_CASE("slice_router: values keep their bits, NaN included") {
  std::vector<float> source{1.0f, -0.0f, std::nanf("7"), 3.0f, 4.0f, 5.0f};
  std::vector<int> const kept{1, 2};
  auto const rows = cull::slice_router(cull::array_view<float const>{source}, 3, kept);
  REQUIRE(rows.size() == 4);
  CHECK(std::memcmp(rows.data(), source.data() + 2, 16) == 0);
  auto const one_each = cull::slice_router(cull::array_view<float const>{source}, 6, kept);
  REQUIRE(one_each.size() == 2);
  CHECK(std::memcmp(one_each.data(), source.data() + 1, 8) == 0);
}

TEST_CASE("slice_router: refuses unequal rows and ids that are no experts") {
  std::vector<std::byte> const source(10);
  auto const refused = [&](std::int64_t count, std::vector<int> const& kept) {
    return catch_error([&] { cull::slice_router(source, count, kept); });
  };
  CHECK(refused(4, {0}).code == cull::errc::shape_mismatch);
  CHECK(refused(4, {0}).text == "slice_router: 10 bytes are not 4 equal rows");
  CHECK(refused(0, {}).code == cull::errc::shape_mismatch);
  CHECK(refused(5, {0, 5}).code == cull::errc::out_of_range);
  CHECK(refused(5, {0, 5}).text == "slice_router: expert 5 of 5");
  CHECK(refused(5, {-1}).code == cull::errc::out_of_range);
}
