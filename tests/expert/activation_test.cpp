// SPDX-License-Identifier: Apache-2.0
// Activations against their formulas in long double.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>
#include <vector>

#include "expert/matrices.hpp"

namespace {

using kind = cull::activation_settings::kind;

static_assert(std::is_trivially_copyable_v<cull::model_activation>);

long double sigmoid(long double x) { return 1 / (1 + std::exp(-x)); }
long double silu(long double x) { return x * sigmoid(x); }
long double gelu(long double x) { return x / 2 * std::erfc(-x / std::sqrt(2.0L)); }
long double gelu_tanh(long double x) {
  long double const y = std::sqrt(2 / std::acos(-1.0L)) * (x + 0.044715L * x * x * x);
  return x / 2 * (1 + std::tanh(y));
}
long double relu2(long double x) { return x > 0 ? x * x : 0; }

/// Every sign, exponent from 2^-126 to 2^7 and a few significands, beside an even grid.
std::vector<float> arguments() {
  std::vector<float> out{0.0f, -0.0f};
  expert_test::source from{71};
  for (std::uint32_t exponent = 1; exponent < 134; ++exponent) {
    for (int i = 0; i < 64; ++i) {
      auto const word = exponent << 23 | (from.bits() >> 9);
      out.push_back(std::bit_cast<float>(word));
      out.push_back(-out.back());
    }
  }
  for (int i = -20000; i <= 20000; ++i) out.push_back(static_cast<float>(i) / 1000.0f);
  return out;
}

/// Greatest error of `f` over all arguments in units of `allowed(x, exact)`.
template <class F, class Exact, class Allowed>
long double worst(F const& f, Exact const& exact, Allowed const& allowed) {
  long double out = 0;
  for (float const x : arguments()) {
    auto const right = exact(static_cast<long double>(x));
    out = std::max(out, std::abs(f(x) - right) / allowed(x, right));
  }
  return out;
}

constexpr long double half_ulp = 0x1p-24L;
constexpr long double least = 0x1p-149L;

std::vector<float> const gates{-30.0f, -7.5f, -7.0f, -1.25f, -0.0f, 0.0f, 0.75f, 3.0f, 6.9999995f, 7.0f, 7.5f, 90.0f};

}  // namespace

TEST_CASE("gelu: within 1.2 units of the last place of x * Phi(x), from the subnormals to saturation") {
  auto const error = worst([](float x) { return cull::gelu{}(x); }, gelu, [](float, long double right) {
    return 2 * half_ulp * std::abs(right) + 16 * least;
  });
  MESSAGE("gelu: " << static_cast<double>(error) << " units of the last place");
  CHECK(error < 1.2L);
  CHECK(cull::gelu{}(200.0f) == 200.0f);
  CHECK(cull::gelu{}(-200.0f) == 0.0f);
  CHECK(std::isnan(cull::gelu{}(std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("gelu_tanh: right to the rounding of its exponent") {
  auto const error = worst([](float x) { return cull::gelu_tanh{}(x); }, gelu_tanh, [](float x, long double right) {
    auto const y = std::abs(1.6L * x * (1 + 0.045L * x * x));
    // Where 1 + tanh cancels even in long double, an absolute bound.
    return half_ulp * (4 + y) * std::abs(right) + 1e-18L * std::abs(static_cast<long double>(x)) + 16 * least;
  });
  CHECK(error < 1.0L);
  CHECK(cull::gelu_tanh{}(100.0f) == 100.0f);
  CHECK(std::abs(cull::gelu_tanh{}(1.0f) - 0.841191991f) < 1e-6f);  // torch.nn.functional.gelu(approximate="tanh")
  CHECK(std::abs(cull::gelu{}(1.0f) - 0.841344746f) < 1e-6f);       // torch.nn.functional.gelu
}

TEST_CASE("silu and relu2: one argument and two") {
  // Below -88.7 e^-x overflows and silu is -0, as torch's, where x e^x is still 2e-37.
  auto const error = worst([](float x) { return cull::silu{}(x); }, silu, [](float x, long double right) {
    return 6 * half_ulp * std::abs(right) + (x < -88.7f ? 3e-37L : 16 * least);
  });
  CHECK(error < 1.0L);
  for (float const x : arguments()) {
    REQUIRE(cull::relu2{}(x) == static_cast<float>(relu2(x)));
    REQUIRE(cull::relu2{}(x, -1.5f) == static_cast<float>(relu2(x)) * -1.5f);
    REQUIRE(cull::silu{}(x, 0.75f) == cull::silu{}(x) * 0.75f);
    REQUIRE(cull::gelu{}(x, 0.75f) == cull::gelu{}(x) * 0.75f);
    REQUIRE(cull::gelu_tanh{}(x, 0.75f) == cull::gelu_tanh{}(x) * 0.75f);
  }
  CHECK(std::isnan(cull::relu2{}(std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("clamped_swiglu: the gate from above, up on both sides, up + 1") {
  for (float const alpha : {1.702f, 1.0f}) {
    for (float const limit : {7.0f, 1.0f}) {
      cull::clamped_swiglu const act{alpha, limit};
      for (float const gate : gates) {
        for (float const up : gates) {
          auto const g = std::min<long double>(gate, limit);
          auto const u = std::clamp<long double>(up, -limit, limit);
          auto const right = (u + 1) * g * sigmoid(g * static_cast<long double>(alpha));
          REQUIRE(std::abs(act(gate, up) - right) <= half_ulp * (8 + 2 * std::abs(g)) * std::abs(right) + least);
        }
      }
      CHECK(act(3.0f, 0.0f) == act(3.0f));
    }
  }
  CHECK(cull::clamped_swiglu{}(7.0f, 7.0f) == cull::clamped_swiglu{}(50.0f, 1e30f));
  CHECK(cull::clamped_swiglu{}(5.0f, -1.0f) == 0.0f);
  CHECK(std::isnan(cull::clamped_swiglu{}(std::numeric_limits<float>::quiet_NaN(), 0.0f)));
  CHECK(std::isnan(cull::clamped_swiglu{}(1.0f, std::numeric_limits<float>::quiet_NaN())));
}

TEST_CASE("limited_silu: the limit comes after silu; a limit of 0 is none") {
  for (float const limit : {7.0f, 0.5f, 0.0f}) {
    for (float const gate : gates) {
      for (float const up : gates) {
        auto const most = limit > 0 ? static_cast<long double>(limit) : 1e9L;
        auto const right = std::min(silu(gate), most) * std::clamp<long double>(up, -most, most);
        REQUIRE(std::abs(cull::limited_silu{limit}(gate, up) - right) <= 8 * half_ulp * std::abs(right) + least);
      }
    }
  }
  CHECK(cull::limited_silu{0.0f}(9.0f, 40.0f) == cull::silu{}(9.0f, 40.0f));
  CHECK(cull::limited_silu{2.0f}(9.0f) == 2.0f);
}

TEST_CASE("model_activation: the function its settings mean, and visit_activation gives that one") {
  auto const same = [](cull::activation_settings const& settings, auto const& expected) {
    cull::model_activation const act{settings};
    for (float const gate : gates) {
      for (float const up : gates) {
        if (act(gate, up) != expected(gate, up) || act(gate) != expected(gate)) return false;
      }
    }
    return cull::visit_activation(act, [&](auto const& known) {
      return std::is_same_v<std::remove_cvref_t<decltype(known)>, std::remove_cvref_t<decltype(expected)>>;
    });
  };
  CHECK(same({}, cull::silu{}));
  CHECK(same({.what = kind::gelu}, cull::gelu{}));
  CHECK(same({.what = kind::gelu_tanh}, cull::gelu_tanh{}));
  CHECK(same({.what = kind::relu2}, cull::relu2{}));
  CHECK(same({.what = kind::clamped_swiglu}, cull::clamped_swiglu{}));
  CHECK(same({.what = kind::clamped_swiglu, .alpha = 1.5f, .limit = 2.0f}, cull::clamped_swiglu{1.5f, 2.0f}));
  CHECK(same({.what = kind::limited_silu, .limit = 3.0f}, cull::limited_silu{3.0f}));
  auto const own = [](float gate, float up) { return gate - up; };
  CHECK(cull::visit_activation(own, [](auto const& known) { return known(5.0f, 2.0f); }) == 3.0f);
}
