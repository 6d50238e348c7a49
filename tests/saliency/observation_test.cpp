// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <limits>
#include <random>
#include <string_view>

#include "support/failures.hpp"
#include "tokens.hpp"

namespace {

using test_support::code_of;

using namespace saliency_test;

constexpr int experts = 10;

cull::default_observation fresh(std::vector<std::string> domains = {}) {
  return cull::observation{cull::on_cpu{}, {.layers = {3, 7}, .experts = experts, .domains = std::move(domains)}};
}

bool close(double ours, long double wanted) {
  return std::abs(ours - static_cast<double>(wanted)) <= 1e-14 * static_cast<double>(std::abs(wanted));
}

void check_expert(cull::default_sums const& ours, plain_sums const& wanted) {
  CHECK(ours.count() == wanted.count);
  CHECK(close(ours.sum(cull::weight), wanted.w));
  CHECK(close(ours.sum(cull::gate), wanted.g));
  CHECK(close(ours.sum(cull::norm), wanted.f));
  CHECK(close(ours.sum(cull::gate_norm), wanted.gf));
  CHECK(close(ours.sum(cull::gate_norm_squared), wanted.gf2));
  CHECK(close(ours.sum(cull::norm_squared), wanted.f2));
  CHECK(ours.max_norm() == wanted.max);
}

struct gate_halved {
  static constexpr std::string_view name = "sum_h";
  static constexpr bool by_sequence = true;
  double operator()(cull::routed_token const& t) const { return t.weight * t.gate / 2; }
};

template <class Sums, class M>
concept has_error = requires(Sums const& e) {
  e.standard_error(M{});
};

struct gate_cubed {
  static constexpr std::string_view name = "sum_g3";
  double operator()(cull::routed_token const& t) const { return t.gate * t.gate * t.gate; }
};

}  // namespace

TEST_CASE("observation: every measure of every expert is the plain sum") {
  auto const tokens = make_tokens(300, experts, 3, 1);
  auto seen = fresh();
  add(seen, 7, tokens);
  for (int e = 0; e < experts; ++e) {
    check_expert(seen.sums(7, e), sum_up(tokens, e));
    CHECK(seen.sums(3, e).count() == 0);
  }
}

TEST_CASE("observation: a domain holds its own tokens, and all domains add up") {
  auto const tokens = make_tokens(200, experts, 2, 2);
  auto told = fresh({"code", "text"}), merged = fresh();
  add(told, 3, tokens);
  add(merged, 3, tokens);
  told.finish();
  merged.finish();
  for (int e = 0; e < experts; ++e) {
    for (int d = 0; d < 2; ++d) check_expert(told.sums(3, e, d), sum_up(tokens, e, d));
    CHECK(told.sums(3, e) == merged.sums(3, e));
  }
}

TEST_CASE("observation: the same bits for any order, split and number of threads") {
  auto tokens = make_tokens(257, experts, 4, 3);
  auto whole = fresh();
  add(whole, 7, tokens);
  whole.finish();
  std::mt19937 random{4};
  for (int const threads : {1, 2, 4}) {
    for (std::size_t const step : {1u, 7u, 64u}) {
      std::shuffle(tokens.begin(), tokens.end(), random);
      auto seen = fresh();
      for (std::size_t first = 0; first < tokens.size(); first += step) {
        add(seen, 7,
            {tokens.begin() + static_cast<std::ptrdiff_t>(first),
             tokens.begin() + static_cast<std::ptrdiff_t>(std::min(first + step, tokens.size()))},
            threads);
      }
      seen.finish();
      CHECK(seen == whole);
    }
  }
}

TEST_CASE("observation: sequences closed as they end, the others still open, give the same bits") {
  auto const tokens = make_tokens(257, experts, 4, 3);
  auto whole = fresh(), seen = fresh();
  add(whole, 7, tokens);
  whole.finish();
  int const sequences = 1 + std::max_element(tokens.begin(), tokens.end(), [](auto const& a, auto const& b) {
                              return a.sequence < b.sequence;
                            })->sequence;
  for (int s = 0; s < sequences; ++s) {
    std::vector<token> own;
    std::copy_if(tokens.begin(), tokens.end(), std::back_inserter(own), [&](token const& t) { return t.sequence == s; });
    auto const half = own.begin() + std::ssize(own) / 2;
    add(seen, 7, {own.begin(), half});
    seen.at(7).finish_below(s);
    CHECK(seen.has_open_sequences());
    add(seen, 7, {half, own.end()});
  }
  seen.at(7).finish_below(sequences);
  CHECK_FALSE(seen.has_open_sequences());
  CHECK(seen == whole);
}

TEST_CASE("observation: a token of weight 0 leaves no trace; one more token leaves one") {
  auto tokens = make_tokens(40, experts, 2, 5);
  auto with = fresh(), without = fresh();
  add(with, 3, tokens);
  std::erase_if(tokens, [](token const& t) { return t.weight == 0; });
  CHECK(tokens.size() < 40);
  add(without, 3, tokens);
  with.finish();
  without.finish();
  CHECK(with == without);
  tokens.resize(1);
  add(with, 3, tokens);
  with.finish();
  CHECK_FALSE(with == without);
}

TEST_CASE("standard_error: residuals over sequences, by the definition") {
  auto const tokens = make_tokens(400, experts, 3, 6);
  auto seen = fresh();
  add(seen, 3, tokens);
  seen.finish();
  for (int e = 0; e < experts - 1; ++e) {
    auto const plain = sum_up(tokens, e);
    auto const n = static_cast<long double>(plain.by_sequence.size());
    CHECK(seen.sums(3, e).clusters().sequences == static_cast<std::int64_t>(plain.by_sequence.size()));
    auto const check = [&](auto measure, long double sequence_sums::*of) {
      long double const ratio = plain.*of / plain.w;
      long double squares = 0;
      for (auto const& [sequence, sums] : plain.by_sequence) squares += (sums.*of - ratio * sums.w) * (sums.*of - ratio * sums.w);
      auto const wanted = std::sqrt(squares * n / (n - 1)) / plain.w;
      CHECK(seen.sums(3, e).standard_error(measure) == doctest::Approx(static_cast<double>(wanted)).epsilon(1e-10));
    };
    check(cull::gate_norm, &sequence_sums::gf);
    check(cull::norm, &sequence_sums::f);
    check(cull::gate, &sequence_sums::g);
  }
  CHECK(seen.sums(3, experts - 1).standard_error(cull::gate_norm) == 0);
}

TEST_CASE("standard_error_of_sum: deviations of sequences from their mean, those without the expert being zeros") {
  auto const tokens = make_tokens(400, experts, 3, 16);
  auto seen = fresh();
  add(seen, 3, tokens);
  seen.finish();
  int const all = 60;  // more than the 45 that have tokens
  for (int e = 0; e < experts; ++e) {
    auto const plain = sum_up(tokens, e);
    auto const check = [&](auto measure, long double sequence_sums::*of) {
      long double const mean = plain.*of / all;
      long double squares = static_cast<long double>(all - std::ssize(plain.by_sequence)) * mean * mean;
      for (auto const& [sequence, sums] : plain.by_sequence) squares += (sums.*of - mean) * (sums.*of - mean);
      auto const wanted = std::sqrt(squares * all / (all - 1));
      CHECK(seen.sums(3, e).standard_error_of_sum(measure, all) == doctest::Approx(static_cast<double>(wanted)).epsilon(1e-10));
    };
    check(cull::weight, &sequence_sums::w);
    check(cull::gate, &sequence_sums::g);
    check(cull::norm, &sequence_sums::f);
    check(cull::gate_norm, &sequence_sums::gf);
  }
}

TEST_CASE("standard_error_of_sum: sums whose squares are beyond 2^64, and weights that make them so") {
  std::vector<token> tokens;
  for (int s = 0; s < 3; ++s) tokens.push_back({{0, 1}, {1.f, 1.f}, {(s + 1) * 0x1p40, 1.0}, 1, s, 0});
  cull::observation seen{cull::on_cpu{}, {.layers = {3}, .experts = 4}, cull::weight, cull::norm};
  add(seen, 3, tokens);
  seen.finish();
  CHECK(seen.rejected() == 0);
  // 1, 2 and 3 times 2^40 about their mean.
  auto const wanted = std::sqrt(1.5 * 2) * 0x1p40;
  CHECK(seen.sums(3, 0).standard_error_of_sum(cull::norm, 3) == doctest::Approx(wanted));
  CHECK(cull::weighted(seen, 64).sums(3, 0).standard_error_of_sum(cull::norm, 3) == doctest::Approx(64 * wanted));
  CHECK_THROWS_AS(cull::weighted(seen, 1e9), cull::error);
}

TEST_CASE("observation: a measure of one's own has errors where it asks for them, and only there") {
  cull::observation seen{cull::on_cpu{}, {.layers = {3}, .experts = 4}, cull::weight, gate_halved{}, gate_cubed{}};
  std::vector<int> const sequences{0, 0, 1, 2};
  float const gates[] = {2, 4, 8, 4};
  std::int32_t const ids[] = {1, 1, 1, 1};
  double const norms[] = {1, 1, 1, 1};
  cull::add(cull::on_cpu{}, seen.at(3), cull::routing<>{{ids, 4, 1}, {gates, 4, 1}},
            {.norms = cull::matrix_view<double const>{norms, 4, 1}, .sequence = sequences});
  seen.finish();
  auto const e = seen.sums(3, 1);
  // By sequence 1 + 2, 4, 2, all of weight 1 a token; the mean is 9 / 4 a token and 3 a sequence.
  CHECK(e.standard_error_of_sum(gate_halved{}, 3) == doctest::Approx(std::sqrt(3.0 / 2 * (0.0 + 1.0 + 1.0))));
  CHECK(e.standard_error(gate_halved{}) == doctest::Approx(std::sqrt(3.0 / 2 * (2.25 + 3.0625 + 0.0625)) / 4));
  CHECK_FALSE(has_error<decltype(e), gate_cubed>);
}

TEST_CASE("standard_error: one cluster that dominates is seen; tokens without sequences are clusters of one") {
  // Ten tokens with the same value in one sequence tell no more than one token.
  std::vector<token> const twins(10, token{{0, 1}, {1.f, 1.f}, {2.0, 3.0}, 1, 0, 0});
  auto one = fresh();
  add(one, 3, twins);
  one.finish();
  CHECK(one.sums(3, 0).clusters().sequences == 1);
  CHECK(one.sums(3, 0).standard_error(cull::gate_norm) == 0);

  auto apart = fresh();
  batch const b{twins};
  cull::add(cull::on_cpu{}, apart.at(3), b.routing(), {.norms = b.norm_view()});
  CHECK(apart.sums(3, 0).clusters().sequences == 10);
  CHECK(apart.sums(3, 0).sum(cull::weight) == 10);
}

TEST_CASE("observation: layers of different sizes, and measures of one's own") {
  cull::observation seen{cull::on_cpu{}, {.layers = {0, 5}, .experts = std::vector<int>{4, 6}}, cull::count, gate_cubed{}};
  std::vector<token> const tokens{{{1, 5}, {2.f, 3.f}, {1, 1}, 1, 0, 0}};
  add(seen, 5, tokens);
  CHECK(seen.experts(0) == 4);
  CHECK(seen.sums(5, 5).sum(gate_cubed{}) == 27);
  CHECK(seen.sums(5, 1).count() == 1);
  CHECK(code_of([&] { add(seen, 0, tokens); }) == cull::errc::out_of_range);
  CHECK(seen.sums(0, 1).count() == 0);
}

TEST_CASE("observation: values that cannot be added are counted, and then nothing can be made of it") {
  for (double const bad : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(), 1e200}) {
    auto seen = fresh(), good = fresh();
    add(seen, 3, {{{0, 1}, {1.f, 1.f}, {bad, 1.0}, 1, 0, 0}});
    CHECK(seen.rejected() > 0);
    CHECK(code_of([&] { seen.require_sound(); }) == cull::errc::rejected_values);
    CHECK(code_of([&] { cull::merge(seen, good); }) == cull::errc::rejected_values);
    CHECK(code_of([&] { cull::merge(good, seen); }) == cull::errc::rejected_values);
    CHECK(code_of([&] { cull::export_state(seen); }) == cull::errc::rejected_values);
  }
}

TEST_CASE("observation and add: wrong use is refused before anything is added") {
  CHECK(code_of([] { cull::observation{cull::on_cpu{}, {.layers = {}, .experts = 4}}; }) == cull::errc::shape_mismatch);
  CHECK(code_of([] { cull::observation{cull::on_cpu{}, {.layers = {2, 1}, .experts = 4}}; }) == cull::errc::out_of_range);
  CHECK(code_of([] { cull::observation{cull::on_cpu{}, {.layers = {1}, .experts = 0}}; }) == cull::errc::out_of_range);
  CHECK(code_of([] {
          cull::observation{cull::on_cpu{}, {.layers = {1, 2}, .experts = std::vector<int>{1}}};
        }) == cull::errc::shape_mismatch);
  CHECK(code_of([] {
          cull::observation{cull::on_cpu{}, {.layers = {1}, .experts = 1, .domains = {"b", "a"}}};
        }) == cull::errc::out_of_range);
  auto seen = fresh({"a", "b"});
  auto tokens = make_tokens(3, experts, 2, 7);
  CHECK(code_of([&] { seen.at(4); }) == cull::errc::out_of_range);
  CHECK(code_of([&] { seen.sums(3, experts); }) == cull::errc::out_of_range);
  CHECK(code_of([&] { seen.sums(3, 0, 2); }) == cull::errc::out_of_range);
  auto const refused = [&](auto change, cull::errc code) {
    auto wrong = tokens;
    change(wrong[2]);
    CHECK(code_of([&] { add(seen, 3, wrong); }) == code);
  };
  refused([](token& t) { t.ids[1] = experts; }, cull::errc::out_of_range);
  refused([](token& t) { t.ids[0] = -1; }, cull::errc::out_of_range);
  refused([](token& t) { t.weight = -1; }, cull::errc::out_of_range);
  refused([](token& t) { t.weight = std::nan(""); }, cull::errc::out_of_range);
  refused([](token& t) { t.domain = 2; }, cull::errc::out_of_range);
  batch const b{tokens};
  CHECK(code_of([&] { cull::add(cull::on_cpu{}, seen.at(3), b.routing(), {.norms = b.norm_view().rows(0, 2)}); }) ==
        cull::errc::shape_mismatch);
  std::vector<double> const two{1, 1};
  CHECK(code_of([&] { cull::add(cull::on_cpu{}, seen.at(3), b.routing(), {.norms = b.norm_view(), .weights = two}); }) ==
        cull::errc::shape_mismatch);
  CHECK(seen == fresh({"a", "b"}));
}

TEST_CASE("observation: norms in f32 are taken as they are") {
  auto const tokens = make_tokens(30, experts, 2, 8);
  batch const b{tokens};
  std::vector<float> narrow(b.norms.begin(), b.norms.end());
  std::vector<double> const wide(narrow.begin(), narrow.end());
  auto first = fresh(), second = fresh();
  cull::add(cull::on_cpu{}, first.at(3), b.routing(), {.norms = cull::matrix_view<float const>{narrow.data(), b.count, b.k}});
  cull::add(cull::on_cpu{}, second.at(3), b.routing(), {.norms = cull::matrix_view<double const>{wide.data(), b.count, b.k}});
  CHECK(first == second);
}
