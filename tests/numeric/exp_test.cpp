// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include <cull/numeric/exp.hpp>

#include "sampled.hpp"

namespace {

using namespace numeric_test;

/// Distance from the exact value in units of the last place of its float.
long double ulps(float ours, long double exact) {
  auto const nearest = static_cast<float>(exact);
  auto const step = static_cast<long double>(std::nextafter(std::fabs(nearest), INFINITY)) - static_cast<long double>(std::fabs(nearest));
  return std::fabs(static_cast<long double>(ours) - exact) / step;
}

static_assert(cull::exp_f32(0.0f) == 1.0f && cull::sigmoid_f32(0.0f) == 0.5f && cull::silu_f32(0.0f) == 0.0f);

}  // namespace

TEST_CASE("exp_f32: within one unit of the last place everywhere, subnormal results included") {
  long double worst = 0;
  std::int64_t wrong = 0;
  for_floats([&](float x) {
    float const ours = cull::exp_f32(x);
    if (std::isnan(x)) {
      wrong += std::isnan(ours) ? 0 : 1;
    } else if (x > 88.7229f) {
      wrong += ours == INFINITY ? 0 : 1;
    } else if (x < -104.0f) {
      wrong += ours == 0 ? 0 : 1;
    } else if (std::isfinite(ours)) {
      worst = std::max(worst, ulps(ours, std::exp(static_cast<long double>(x))));
    } else {
      wrong += std::exp(static_cast<long double>(x)) < 3.4028234e38L ? 1 : 0;
    }
  });
  CHECK(wrong == 0);
  CHECK(worst < 1.0L);
  MESSAGE("worst error " << static_cast<double>(worst) << " ulp");
}

TEST_CASE("exp_f32: ends of the range") {
  CHECK(cull::exp_f32(INFINITY) == INFINITY);
  CHECK(cull::exp_f32(-INFINITY) == 0);
  CHECK(cull::exp_f32(-0.0f) == 1);
  CHECK(cull::exp_f32(88.72283f) == doctest::Approx(3.40279851e38));
  CHECK(cull::exp_f32(-103.9f) > 0);
  CHECK(cull::exp_f32(-std::numeric_limits<float>::denorm_min()) == 1);
}

TEST_CASE("exp_f32: never falls where x rises") {
  float before = 0;
  std::int64_t falls = 0;
  for (float x = -105; x < 90; x = std::nextafter(x + 3e-6f, INFINITY)) {
    float const now = cull::exp_f32(x);
    falls += now < before ? 1 : 0;
    before = now;
  }
  CHECK(falls == 0);
}

TEST_CASE("sigmoid_f32 and silu_f32: a few units of the last place, in [0, 1], right at both ends") {
  long double worst_sigmoid = 0, worst_silu = 0;
  for (float x = -80; x < 100; x += 1.1e-4f) {
    auto const e = std::exp(-static_cast<long double>(x));
    worst_sigmoid = std::max(worst_sigmoid, ulps(cull::sigmoid_f32(x), 1 / (1 + e)));
    worst_silu = std::max(worst_silu, ulps(cull::silu_f32(x), static_cast<long double>(x) / (1 + e)));
  }
  CHECK(worst_sigmoid < 2.5L);
  CHECK(worst_silu < 2.5L);
  CHECK(cull::sigmoid_f32(INFINITY) == 1);
  CHECK(cull::sigmoid_f32(-INFINITY) == 0);
  CHECK(cull::sigmoid_f32(200) == 1);
  CHECK(cull::sigmoid_f32(-200) == 0);
  CHECK(cull::silu_f32(200) == 200);
  CHECK(cull::silu_f32(-200) == 0);
}
