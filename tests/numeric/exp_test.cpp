// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include <cull/numeric.hpp>
#include <numeric/floats.hpp>

namespace {

using namespace numeric_test;
using cull::exp_f32;
using cull::sigmoid_f32;
using cull::silu_f32;

constexpr float infinity = std::numeric_limits<float>::infinity();

/// Distance from the exact value in steps of f32 there; infinity is right where f32 rounds to it.
long double ulps(float ours, long double exact) {
  if (std::isinf(ours)) return exact >= 0x1.ffffffp127L ? 0 : infinity;
  int exponent = 0;
  std::frexp(exact, &exponent);
  return std::fabs(static_cast<long double>(ours) - exact) / std::ldexp(1.0L, std::max(exponent, -125) - 24);
}

/// Every 257th float of magnitude 2^-29 to 112, of both signs: beyond, the answers are 1, 0 and infinity.
template <class F>
void for_dense_floats(F f) {
  for (auto word = std::bit_cast<std::uint32_t>(0x1p-29f); word < std::bit_cast<std::uint32_t>(112.0f); word += 257) {
    f(std::bit_cast<float>(word));
    f(std::bit_cast<float>(word | 0x80000000u));
  }
}

static_assert(exp_f32(0.0f) == 1.0f && exp_f32(-infinity) == 0.0f && exp_f32(1.0f) == 0x1.5bf0a8p1f);
static_assert(sigmoid_f32(0.0f) == 0.5f && silu_f32(0.0f) == 0.0f);

}  // namespace

TEST_CASE("exp_f32: within 0.52 ulp of the exact value, subnormal results included") {
  long double worst = 0;
  auto const one = [&](float x) { worst = std::max(worst, ulps(exp_f32(x), std::exp(static_cast<long double>(x)))); };
  for_dense_floats(one);
  for_sampled_floats([&](float x) {
    if (std::fabs(x) < 200) one(x);
  });
  CHECK(worst > 0.5L);
  CHECK(worst < 0.52L);
  MESSAGE("largest error of exp_f32: " << static_cast<double>(worst) << " ulp");
}

TEST_CASE("exp_f32: overflow, underflow and NaN over all samples") {
  tally seen;
  for_sampled_floats([&](float x) {
    float const y = exp_f32(x);
    if (std::isnan(x)) seen.add(std::isnan(y), x);
    if (x > 88.72284f) seen.add(y == infinity, x);
    if (x < -103.98f) seen.add(y == 0 && !std::signbit(y), x);
    if (x > -104 && x < 88.7228f) seen.add(std::isfinite(y), x);
  });
  CHECK(seen.tried > 16000000);
  CHECK_MESSAGE(seen.wrong == 0, "first at pattern " << seen.first);
}

TEST_CASE("exp_f32: the ends of the range by name") {
  CHECK(exp_f32(infinity) == infinity);
  CHECK(exp_f32(-infinity) == 0);
  CHECK(exp_f32(-0.0f) == 1);
  CHECK(exp_f32(std::numeric_limits<float>::denorm_min()) == 1);
  CHECK(exp_f32(-std::numeric_limits<float>::denorm_min()) == 1);
  CHECK(std::isfinite(exp_f32(0x1.62e42ep6f)));
  CHECK(exp_f32(0x1.62e43p6f) == infinity);
  CHECK(exp_f32(-103.9f) == std::numeric_limits<float>::denorm_min());
  CHECK(exp_f32(-0x1.9fe368p6f) == std::numeric_limits<float>::denorm_min());
  CHECK(exp_f32(-0x1.9fe36ap6f) == 0);
  CHECK(std::isnan(exp_f32(-std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("exp_f32: never falls where x rises") {
  float before = 0;
  std::int64_t falls = 0;
  for (float x = -105; x < 90; x = std::nextafter(x + 3e-6f, infinity)) {
    float const now = exp_f32(x);
    falls += now < before ? 1 : 0;
    before = now;
  }
  CHECK(falls == 0);
}

// e^-x overflows below -88.72: there both give zero, as in torch; the error is of the size of the least normal.
TEST_CASE("sigmoid_f32 and silu_f32: within 2.5 ulp down to -87.33, tiny in absolute terms below") {
  long double worst_sigmoid = 0, worst_silu = 0, tail = 0;
  for_dense_floats([&](float x) {
    auto const wide = static_cast<long double>(x);
    long double const sigmoid = 1 / (1 + std::exp(-wide)), silu = wide * sigmoid;
    if (x >= -87.33f) {
      worst_sigmoid = std::max(worst_sigmoid, ulps(sigmoid_f32(x), sigmoid));
      worst_silu = std::max(worst_silu, ulps(silu_f32(x), silu));
    } else {
      tail = std::max(tail, std::fabs(static_cast<long double>(sigmoid_f32(x)) - sigmoid));
      tail = std::max(tail, std::fabs(static_cast<long double>(silu_f32(x)) - silu) / 128);
    }
  });
  CHECK(worst_sigmoid < 2.5L);
  CHECK(worst_silu < 2.5L);
  CHECK(tail < 0x1p-126L);
  MESSAGE("largest error of sigmoid_f32: " << static_cast<double>(worst_sigmoid) << " ulp");
  MESSAGE("largest error of silu_f32: " << static_cast<double>(worst_silu) << " ulp");
}

TEST_CASE("sigmoid_f32 and silu_f32: between their bounds for every sample, NaN stays NaN") {
  tally seen;
  for_sampled_floats([&](float x) {
    float const sigmoid = sigmoid_f32(x), silu = silu_f32(x);
    if (std::isnan(x)) {
      seen.add(std::isnan(sigmoid) && std::isnan(silu), x);
    } else if (std::isfinite(x)) {
      seen.add(sigmoid >= 0 && sigmoid <= 1 && silu >= -0.2785f && silu <= std::max(x, 0.0f), x);
    }
  });
  CHECK(seen.tried > 16000000);
  CHECK_MESSAGE(seen.wrong == 0, "first at pattern " << seen.first);
}

TEST_CASE("sigmoid_f32 and silu_f32: both ends by name") {
  CHECK(sigmoid_f32(infinity) == 1);
  CHECK(sigmoid_f32(-infinity) == 0);
  CHECK(sigmoid_f32(200) == 1);
  CHECK(sigmoid_f32(-200) == 0);
  CHECK(silu_f32(200) == 200);
  CHECK(silu_f32(-200) == 0);
  CHECK(silu_f32(infinity) == infinity);
}
