// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <vector>

#include <engine/norms.hpp>
#include <engine/random.hpp>
#include <engine/rope.hpp>
#include <engine/sampling.hpp>

#include <cull/error.hpp>

namespace {

std::vector<float> noise(std::size_t size, std::uint64_t seed) {
  engine::random_stream random{seed};
  std::vector<float> out;
  while (out.size() < size) out.push_back(static_cast<float>(2 * random.uniform() - 1));
  return out;
}

}  // namespace

TEST_CASE("dot: every length is the plain sum within f64 rounding") {
  for (std::int64_t size = 0; size < 40; ++size) {
    auto const a = noise(static_cast<std::size_t>(size), 1), b = noise(static_cast<std::size_t>(size), 2);
    long double plain = 0;
    for (std::size_t i = 0; i < a.size(); ++i) plain += static_cast<long double>(a[i]) * static_cast<long double>(b[i]);
    CHECK(engine::dot(a.data(), b.data(), size) == doctest::Approx(static_cast<double>(plain)).epsilon(1e-14));
  }
}

TEST_CASE("rms_norm: unit mean square times the weight") {
  auto const x = noise(33, 3), weight = noise(33, 4);
  std::vector<float> y(33);
  engine::rms_norm{weight, 1e-5}.row(x.data(), y.data());
  double square = 0;
  for (float const value : x) square += static_cast<double>(value) * static_cast<double>(value);
  for (std::size_t i = 0; i < x.size(); ++i) {
    double const wanted = static_cast<double>(x[i]) * static_cast<double>(weight[i]) / std::sqrt(square / 33 + 1e-5);
    CHECK(static_cast<double>(y[i]) == doctest::Approx(wanted).epsilon(1e-6));
  }
  std::vector<float> zero(33);
  engine::rms_norm{weight, 1e-5}.row(zero.data(), zero.data());
  CHECK(zero == std::vector<float>(33));
}

TEST_CASE("layer_norm: no mean, unit variance, then weight and bias") {
  auto x = noise(32, 5);
  auto const weight = noise(32, 6), bias = noise(32, 7), before = x;
  engine::layer_norm{weight, bias, 1e-6}.row(x.data());
  double mean = 0, variance = 0;
  for (float const value : before) mean += static_cast<double>(value) / 32;
  for (float const value : before) variance += (static_cast<double>(value) - mean) * (static_cast<double>(value) - mean) / 32;
  for (std::size_t i = 0; i < x.size(); ++i) {
    double const unit = (static_cast<double>(before[i]) - mean) / std::sqrt(variance + 1e-6);
    CHECK(static_cast<double>(x[i]) ==
          doctest::Approx(unit * static_cast<double>(weight[i]) + static_cast<double>(bias[i])).epsilon(1e-5));
  }
}

namespace {

engine::rope plain_rope(std::int64_t dims, engine::rotary_pairs pairs) {
  return engine::read_rope(cull::config_view{R"({"rope_theta": 10000})", "config.json"}, dims, pairs);
}

}  // namespace

TEST_CASE("rope: position 0 turns nothing, lengths stay, products depend on the distance alone") {
  for (auto const pairs : {engine::rotary_pairs::adjacent, engine::rotary_pairs::halves}) {
    auto const rotary = plain_rope(16, pairs);
    CHECK(rotary.dims() == 16);
    auto const a = noise(16, 8), b = noise(16, 9);
    auto const turned = [&](std::vector<float> x, std::int64_t position) {
      rotary.rotate(rotary.turn(position), x.data());
      return x;
    };
    CHECK(turned(a, 0) == a);
    auto const product = [&](std::int64_t p, std::int64_t q) { return engine::dot(turned(a, p).data(), turned(b, q).data(), 16); };
    CHECK(product(107, 100) == doctest::Approx(product(7, 0)).epsilon(1e-5));
    CHECK(engine::dot(turned(a, 55).data(), turned(a, 55).data(), 16) ==
          doctest::Approx(engine::dot(a.data(), a.data(), 16)).epsilon(1e-6));
  }
}

TEST_CASE("rope: pairs are neighbours or half a head apart, turning 1 and 1/100 radian a position for theta 10000 and four dims") {
  auto const turned = [](engine::rotary_pairs pairs, std::vector<float> x) {
    auto const rotary = plain_rope(4, pairs);
    rotary.rotate(rotary.turn(3), x.data());
    return x;
  };
  auto const adjacent = turned(engine::rotary_pairs::adjacent, {1, 0, 1, 0, 5});
  CHECK(static_cast<double>(adjacent[0]) == doctest::Approx(std::cos(3.0)));
  CHECK(static_cast<double>(adjacent[1]) == doctest::Approx(std::sin(3.0)));
  CHECK(static_cast<double>(adjacent[3]) == doctest::Approx(std::sin(0.03)));
  CHECK(adjacent[4] == 5);
  auto const halves = turned(engine::rotary_pairs::halves, {1, 1, 0, 0, 5});
  CHECK(static_cast<double>(halves[0]) == doctest::Approx(std::cos(3.0)));
  CHECK(static_cast<double>(halves[2]) == doctest::Approx(std::sin(3.0)));
  CHECK(static_cast<double>(halves[3]) == doctest::Approx(std::sin(0.03)));
  CHECK(halves[4] == 5);
}

TEST_CASE("rope: types that are not supported are refused by name") {
  for (auto const* const text : {R"({"rope_theta": 1e4, "rope_scaling": {"type": "dynamic", "factor": 2}})",
                                 R"({"rope_parameters": {"rope_theta": 1e4, "rope_type": "dynamic", "factor": 2}})"}) {
    CHECK_THROWS_WITH_AS(engine::read_rope(cull::config_view{text, "config.json"}, 8, engine::rotary_pairs::halves),
                         doctest::Contains("'dynamic'"), cull::error);
  }
}

TEST_CASE("random_stream: repeatable, streams and seeds differ, uniform in [0, 1)") {
  engine::random_stream a{1, 0}, b{1, 0}, c{1, 1}, d{2, 0};
  auto const first = a.next();
  CHECK(first == b.next());
  CHECK(first != c.next());
  CHECK(first != d.next());
  double sum = 0;
  for (int i = 0; i < 10000; ++i) {
    double const u = a.uniform();
    REQUIRE((u >= 0 && u < 1));
    sum += u;
  }
  CHECK(sum / 10000 == doctest::Approx(0.5).epsilon(0.02));
}

TEST_CASE("sample: greedy is the first maximum; draws follow the cut softmax") {
  std::vector<float> const logits{0, 3, 1, 3, 2};
  engine::random_stream random{7};
  CHECK(engine::sample(logits, {}, random) == 1);
  std::vector<int> drawn(5);
  engine::sampling const hot{.temperature = 2, .top_p = 0.8};
  for (int i = 0; i < 20000; ++i) ++drawn[static_cast<std::size_t>(engine::sample(logits, hot, random))];
  // exp(l / 2): 1, 4.48, 1.65, 4.48, 2.72 of 14.33; 1, 3 and 4 are the smallest set that reaches 0.8
  double const kept = 2 * std::exp(1.5) + std::exp(1.0);
  CHECK(drawn[0] == 0);
  CHECK(drawn[2] == 0);
  CHECK(drawn[1] / 20000.0 == doctest::Approx(std::exp(1.5) / kept).epsilon(0.03));
  CHECK(drawn[3] / 20000.0 == doctest::Approx(std::exp(1.5) / kept).epsilon(0.03));
  CHECK(drawn[4] / 20000.0 == doctest::Approx(std::exp(1.0) / kept).epsilon(0.05));
}

TEST_CASE("sampling settings that mean nothing are refused") {
  CHECK_THROWS_AS(engine::check({.temperature = -1}), cull::error);
  CHECK_THROWS_AS(engine::check({.temperature = std::nan("")}), cull::error);
  CHECK_THROWS_AS(engine::check({.top_p = 0}), cull::error);
  CHECK_THROWS_AS(engine::check({.top_p = 1.5}), cull::error);
  CHECK_THROWS_AS(engine::check({.max_tokens = -1}), cull::error);
}
