// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>

#include "support/failures.hpp"
#include "tokens.hpp"

namespace {

using test_support::code_of;

using namespace saliency_test;

cull::default_observation of_sequences(std::vector<token> const& tokens, std::vector<int> const& sequences,
                                       std::vector<std::string> domains = {}) {
  cull::observation seen{cull::on_cpu{}, {.layers = {1, 2}, .experts = 8, .domains = domains}};
  std::vector<token> own;
  for (auto t : tokens) {
    if (std::find(sequences.begin(), sequences.end(), t.sequence) != sequences.end()) own.push_back(t);
  }
  for (int const layer : {1, 2}) add(seen, layer, own);
  for (int const s : sequences) seen.provenance().sequences.push_back({static_cast<std::uint64_t>(s), 1});
  std::sort(seen.provenance().sequences.begin(), seen.provenance().sequences.end());
  seen.provenance().model_digest = "m";
  seen.finish();
  return seen;
}

}  // namespace

TEST_CASE("merge: a set split in five, merged in every order, is the whole set's state") {
  auto const tokens = make_tokens(180, 8, 3, 11);  // twenty sequences
  std::vector<int> all(20);
  std::iota(all.begin(), all.end(), 0);
  auto const whole = of_sequences(tokens, all);
  std::vector<cull::default_observation> parts;
  for (int p = 0; p < 5; ++p) parts.push_back(of_sequences(tokens, {p, p + 5, p + 10, p + 15}));
  std::vector<std::size_t> order{0, 1, 2, 3, 4};
  int orders = 0;
  do {
    auto total = parts[order[0]];
    for (std::size_t i = 1; i < 5; ++i) total = cull::merge(total, parts[order[i]]);
    REQUIRE(total == whole);
    ++orders;
  } while (std::next_permutation(order.begin(), order.end()));
  CHECK(orders == 120);
  CHECK(cull::merge(cull::merge(parts[0], parts[1]), cull::merge(parts[2], cull::merge(parts[3], parts[4]))) == whole);
}

TEST_CASE("merge: open sequences are closed on the way") {
  auto const tokens = make_tokens(18, 8, 3, 12);
  cull::observation open{cull::on_cpu{}, {.layers = {1, 2}, .experts = 8}};
  for (int const layer : {1, 2}) add(open, layer, tokens);
  cull::observation const empty{cull::on_cpu{}, {.layers = {1, 2}, .experts = 8}};
  CHECK(open.has_open_sequences());
  auto const total = cull::merge(open, empty);
  CHECK_FALSE(total.has_open_sequences());
  CHECK(total == cull::finished(open));
  CHECK(total.sums(1, 0).clusters().sequences > 0);
}

TEST_CASE("merge: domains are united by name") {
  auto tokens = make_tokens(36, 8, 2, 13);
  for (auto& t : tokens) t.domain = 0;
  auto const a = of_sequences(tokens, {0, 1}, {"code"}), b = of_sequences(tokens, {2, 3}, {"agent"});
  auto const total = cull::merge(a, b);
  CHECK(total.domains() == std::vector<std::string>{"agent", "code"});
  for (int e = 0; e < 8; ++e) {
    CHECK(total.sums(1, e, 0) == b.sums(1, e));
    CHECK(total.sums(1, e, 1) == a.sums(1, e));
  }
  CHECK(total == cull::merge(b, a));
}

TEST_CASE("merge: what must not be added is refused") {
  auto const tokens = make_tokens(36, 8, 2, 14);
  auto const a = of_sequences(tokens, {0, 1});
  CHECK(code_of([&] { cull::merge(a, a); }) == cull::errc::duplicate_data);
  CHECK(code_of([&] { cull::merge(a, of_sequences(tokens, {1, 2})); }) == cull::errc::duplicate_data);
  auto other = of_sequences(tokens, {2});
  other.provenance().model_digest = "n";
  CHECK(code_of([&] { cull::merge(a, other); }) == cull::errc::mismatched_states);
  other = of_sequences(tokens, {2});
  other.provenance().settings = "precision=bf16";
  CHECK(code_of([&] { cull::merge(a, other); }) == cull::errc::mismatched_states);
  CHECK(code_of([&] { cull::merge(a, of_sequences(tokens, {2}, {"a", "b"})); }) == cull::errc::mismatched_states);
  cull::observation const wider{cull::on_cpu{}, {.layers = {1, 2}, .experts = 9}},
      deeper{cull::on_cpu{}, {.layers = {1, 2, 3}, .experts = 8}};
  CHECK(code_of([&] { cull::merge(a, wider); }) == cull::errc::mismatched_states);
  CHECK(code_of([&] { cull::merge(a, deeper); }) == cull::errc::mismatched_states);
}
