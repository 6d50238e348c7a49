// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "router/reference.hpp"
#include "support/safetensors_lite.hpp"

namespace {

using cull::row_part;
using router_test::catch_error;
using router_test::logits_block;
using router_test::routed;
using router_test::same_bits;

/// Multiplies scores, and with them the weights, by a table: one value per expert.
struct times_table {
  static constexpr row_part reads = row_part::scores;
  static constexpr row_part writes = row_part::scores | row_part::choice;
  static constexpr row_part before = row_part::chosen;
  cull::array_view<float const> table;

  void operator()(cull::row_ref row) const {
    for (std::int64_t e = 0; e < row.experts(); ++e) row.choice[e] = row.scores[e] *= table[e];
  }
  void check(std::int64_t experts) const {
    if (table.size() != experts)
      throw cull::error{cull::errc::shape_mismatch, "times_table: another number of experts"};
  }
};

struct temperature {
  static constexpr row_part reads = row_part::logits;
  static constexpr row_part writes = row_part::logits;
  static constexpr row_part before = row_part::scores;
  float value;
  void operator()(cull::row_ref row) const {
    for (auto& logit : row.scores) logit /= value;
  }
};

auto glm(std::vector<float> const& bias) {
  return cull::score<cull::sigmoid>() | cull::prefer(bias) | cull::choose<8>() | cull::renormalize(1e-20f) |
         cull::scale(2.5f);
}

template <class Exec, class Router, class View>
concept routable = requires(Exec const& exec, Router const& router, View logits, cull::routing_buffer& out) {
  cull::route(exec, router, logits, out);
};
using whole_router = decltype(cull::score<cull::sigmoid>() | cull::choose(2));
struct other_executor {
  using memory_space = cull::host_memory;
};
static_assert(routable<cull::on_cpu, whole_router, cull::matrix_view<float const>>);
static_assert(routable<cull::on_cpu, whole_router, cull::matrix_view<float>>);
static_assert(!routable<cull::on_cpu, whole_router, cull::matrix_view<double const>>);
static_assert(!routable<cull::on_cpu, whole_router, cull::matrix_view<float const, cull::device_memory>>);
static_assert(!routable<cull::on_cpu, decltype(cull::score<cull::sigmoid>()), cull::matrix_view<float const>>);
static_assert(!routable<other_executor, whole_router, cull::matrix_view<float const>>);

std::map<std::string, test_support::tensor> read_biases() {
  std::map<std::string, test_support::tensor> out;
  for (int shard = 1; shard <= 3; ++shard) {
    auto const name = "/tiny-glm/model/model-0000" + std::to_string(shard) + "-of-00003.safetensors";
    for (auto& [tensor, content] : test_support::read_safetensors(CULL_TEST_DATA + name)) {
      if (tensor.ends_with("e_score_correction_bias")) out[tensor] = content;
    }
  }
  return out;
}

/// Greatest difference of weights; ids must be equal.
double compare_with_oracle(cull::routing<> const& got, std::vector<std::int32_t> const& ids,
                           std::vector<float> const& weights) {
  REQUIRE(ids.size() == static_cast<std::size_t>(got.tokens() * got.k()));
  double worst = 0;
  for (std::int64_t t = 0; t < got.tokens(); ++t) {
    for (std::int64_t i = 0; i < got.k(); ++i) {
      auto const at = static_cast<std::size_t>(t * got.k() + i);
      REQUIRE(got.ids(t, i) == ids[at]);
      worst = std::max(worst, std::abs(static_cast<double>(got.weights(t, i)) - static_cast<double>(weights[at])));
    }
  }
  return worst;
}

cull::routing_buffer routed_in_pieces(logits_block const& logits, std::vector<float> const& bias, std::int64_t piece,
                                      int threads) {
  cull::routing_buffer whole, part;
  whole.resize(logits.tokens, 8);
  for (std::int64_t t = 0; t < logits.tokens; t += piece) {
    auto const count = std::min(piece, logits.tokens - t);
    cull::route(cull::on_cpu{threads}, glm(bias), logits.view().rows(t, count), part);
    for (std::int64_t r = 0; r < count; ++r) {
      std::copy_n(part.ids().row(r).data(), 8, whole.ids().row(t + r).data());
      std::copy_n(part.weights().row(r).data(), 8, whole.weights().row(t + r).data());
    }
  }
  return whole;
}

}  // namespace

TEST_CASE("route: transformers' choice and weights for all five MoE layers of tiny-glm") {
  auto const oracle = test_support::read_safetensors(CULL_TEST_DATA "/tiny-glm/oracle/forward.safetensors");
  auto const biases = read_biases();
  REQUIRE(biases.size() == 5);
  double worst = 0;
  for (int layer = 1; layer <= 5; ++layer) {
    auto const suffix = "." + std::to_string(layer) + ".0";
    auto const& logits = oracle.at("router_logits" + suffix);
    auto const bias =
        biases.at("model.layers." + std::to_string(layer) + ".mlp.gate.e_score_correction_bias").as<float>();
    logits_block const block{logits.as<float>(), logits.shape.at(0), logits.shape.at(1)};
    auto const ids = oracle.at("topk_ids" + suffix).as<std::int32_t>();
    auto const weights = oracle.at("topk_weights" + suffix).as<float>();
    worst = std::max(worst, compare_with_oracle(routed(glm(bias), block).view(), ids, weights));
    cull::router_settings const s{
        .scoring = cull::scoring::sigmoid, .top_k = 8, .renormalize = cull::renormalization::on, .scaling = 2.5f};
    worst = std::max(worst, compare_with_oracle(routed(cull::model_router{s, bias}, block).view(), ids, weights));
  }
  MESSAGE("greatest difference to transformers' weights: " << worst);
  CHECK(worst <= 2e-6);
}

TEST_CASE("route: threads and batches change no bit") {
  auto const logits = router_test::random_logits(1100, 64, 3);
  auto const bias = router_test::source{4}.values(64, -0.2f, 0.2f);
  auto const whole = routed(glm(bias), logits);
  for (int const threads : {1, 2, 4, 0}) {
    CHECK(same_bits(routed(glm(bias), logits, threads).view(), whole.view()));
    for (std::int64_t const piece : {1, 7, 255, 256, 257, 512, 1099}) {
      CHECK(same_bits(routed_in_pieces(logits, bias, piece, threads).view(), whole.view()));
    }
  }
}

TEST_CASE("route: rows apart from each other, and nothing but the rows is read") {
  auto const logits = router_test::random_logits(40, 16, 5);
  std::vector<float> apart(40 * 21, std::numeric_limits<float>::quiet_NaN());
  for (std::size_t t = 0; t < 40; ++t) std::copy_n(logits.values.data() + t * 16, 16, apart.data() + t * 21);
  auto const router = cull::score<cull::softmax>() | cull::choose(3);
  cull::routing_buffer out;
  cull::route(cull::on_cpu{}, router, cull::matrix_view<float>{apart.data(), 40, 16, 21}, out);
  CHECK(same_bits(out.view(), routed(router, logits).view()));
}

TEST_CASE("route: the buffer takes the shape of the batch, and may have held another") {
  cull::routing_buffer out;
  auto const router = cull::score<cull::softmax>() | cull::choose(2);
  for (std::int64_t const tokens : {5, 300, 0, 1}) {
    auto const logits = router_test::random_logits(tokens, 6, 7);
    cull::route(cull::on_cpu{2}, router, logits.view(), out);
    CHECK(out.view().tokens() == tokens);
    CHECK(out.view().k() == 2);
    CHECK(same_bits(out.view(), routed(router, logits).view()));
  }
}

TEST_CASE("route: a logit that is not finite is named, whoever else is fine") {
  auto const bad_values = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                           -std::numeric_limits<float>::infinity()};
  for (float const bad : bad_values) {
    for (int const threads : {1, 4}) {
      auto logits = router_test::random_logits(900, 16, 9);
      logits.values[777 * 16 + 11] = bad;
      std::vector<int> const kept{0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
      auto const router = cull::keep_only(kept) | cull::score<cull::softmax>() | cull::choose(2);
      auto const problem = catch_error([&] { routed(router, logits, threads); });
      CHECK(problem.code == cull::errc::not_finite);
      CHECK(problem.text == "route: the logit of token 777, expert 11 is not finite");
    }
  }
}

TEST_CASE("route: checks of every stage run before a token does") {
  auto const logits = router_test::random_logits(3, 8, 11);
  std::vector<float> const short_bias(7, 0.0f), bias(8, 0.0f);
  std::vector<int> const unsorted{3, 1};
  auto const scored = cull::score<cull::sigmoid>();
  auto const text = [&](auto const& router) { return catch_error([&] { routed(router, logits); }).text; };
  CHECK(text(scored | cull::choose(9)) == "choose: cannot choose 9 of 8 experts");
  CHECK(text(scored | cull::prefer(short_bias) | cull::choose(2)) == "prefer: 7 bias values for 8 experts");
  CHECK(text(cull::keep_only(unsorted) | scored | cull::choose(2)) ==
        "keep_only: ids must ascend within [0, 8); entry 1 is 1");
  CHECK(text(scored | cull::within_groups(3, 1, cull::maximum{}) | cull::choose(2))
            .starts_with("within_groups: 8 experts in 3"));
  CHECK(text(scored | times_table{short_bias} | cull::choose(2)) == "times_table: another number of experts");
  CHECK(text(scored | cull::prefer(bias) | cull::choose(2)).empty());
}

TEST_CASE("route: too few candidates, with the token that lacks them") {
  std::vector<int> const kept{0, 1, 2, 8, 9, 10};
  auto const router = cull::keep_only(kept) | cull::score<cull::sigmoid>() |
                      cull::within_groups(2, 1, cull::maximum{}) | cull::choose(4);
  auto const problem = catch_error([&] { routed(router, router_test::random_logits(3, 16, 13)); });
  CHECK(problem.code == cull::errc::out_of_range);
  CHECK(problem.text == "route: token 0 has 3 eligible experts and needs 4; keep more experts per group");
}

TEST_CASE("route: a user's stage over logits: a temperature is a division of the logits") {
  auto const logits = router_test::random_logits(50, 16, 15);
  auto halved = logits;
  for (auto& v : halved.values) v *= 0.5f;
  auto const rest = cull::score<cull::softmax>() | cull::choose(4);
  CHECK(same_bits(routed(temperature{2.0f} | cull::score<cull::softmax>() | cull::choose(4), logits).view(),
                  routed(rest, halved).view()));
  std::vector<int> const kept{1, 5, 6, 9, 12, 14};
  cull::model_router const model{{.top_k = 4}, {}};
  CHECK(same_bits(routed(cull::keep_only(kept) | temperature{2.0f} | model, logits).view(),
                  routed(cull::keep_only(kept) | model, halved).view()));
}

TEST_CASE("route: a user's stage over scores: a table decides both who and how much") {
  auto const logits = router_test::random_logits(50, 16, 17);
  auto const table = router_test::source{18}.values(16, 0.5f, 2.0f);
  auto const got = routed(cull::score<cull::sigmoid>() | times_table{table} | cull::choose(4), logits, 2);
  for (std::int64_t t = 0; t < logits.tokens; ++t) {
    router_test::scores_by_id expected;
    auto const row = logits.row(t);
    for (std::size_t e = 0; e < 16; ++e) {
      expected[static_cast<int>(e)] = static_cast<double>(table[e]) / (1 + std::exp(-static_cast<double>(row[e])));
    }
    double gap = 1;
    std::int64_t i = 0;
    for (int const id : router_test::greatest(expected, 4, gap)) {
      REQUIRE(got.view().ids(t, i) == id);
      REQUIRE(static_cast<double>(got.view().weights(t, i)) == doctest::Approx(expected[id]).epsilon(1e-6));
      ++i;
    }
    REQUIRE(gap > 1e-6);
  }
}
