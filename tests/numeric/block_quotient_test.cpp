// SPDX-License-Identifier: Apache-2.0
// What stands for true division, and rounding by addition: divisors and numbers around borders by the million, against the
// machine's division and e2m1's own encoding.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include <cull/numeric/block_quotient.hpp>
#include <cull/numeric/e2m1.hpp>
#include <cull/numeric/e2m1_rounding.hpp>

namespace {

#if defined(CULL_SANITIZED)
constexpr std::uint32_t mantissa_step = 127;
#else
constexpr std::uint32_t mantissa_step = 1;
#endif

/// The fused multiply-add of the hardware, where a call of the library's would take minutes.
struct fused {
  int ulps_off = 0;  ///< of the reciprocal
  float fma(float a, float b, float c) const { return __builtin_fmaf(a, b, c); }
  float reciprocal(float x) const {
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(1.0f / x) + static_cast<std::uint32_t>(ulps_off));
  }
};

struct border {
  float at;
  bool included;  ///< in the upper code
  /// Where an exact quotient is rounded to the upper code's side.
  double middle() const {
    float const beside = std::nextafter(at, included ? 0.0f : 8.0f);
    return (static_cast<double>(at) + static_cast<double>(beside)) / 2;
  }
  bool upper(float quotient) const { return included ? quotient >= at : quotient > at; }
};
constexpr border borders[] = {{0.25f, false}, {0.75f, true}, {1.25f, false}, {1.75f, true},
                              {2.5f, false},  {3.5f, true},  {5, false}};

/// Divisors of [1, 2) whose quotients, of the two numbers around a border, differ from true division.
#if defined(__x86_64__)
__attribute__((target("fma")))
#endif
std::uint32_t
different_quotients(border const& b) {
  std::uint32_t different = 0;
  double const middle = b.middle();
  for (std::uint32_t m = 0; m < 1u << 23; m += mantissa_step) {
    float const divisor = std::bit_cast<float>(0x3f800000u | m);
    double const exact = static_cast<double>(divisor) * middle;
    float const near = static_cast<float>(exact);
    auto const bits = std::bit_cast<std::uint32_t>(near) - (static_cast<double>(near) > exact ? 1 : 0);
    if (!cull::detail::block_quotient::serves(divisor, divisor)) continue;
    float const reciprocals[] = {cull::detail::block_quotient::reciprocal_of(fused{-1}, divisor),
                                 cull::detail::block_quotient::reciprocal_of(fused{0}, divisor),
                                 cull::detail::block_quotient::reciprocal_of(fused{1}, divisor), 1.0f / divisor};
    for (std::uint32_t const x_bits : {bits, bits + 1}) {
      float const x = std::bit_cast<float>(x_bits);
      bool const upper = b.upper(x / divisor);
      for (float const reciprocal : reciprocals) {
        cull::detail::block_quotient const quotient{divisor, reciprocal};
        different += b.upper(quotient(fused{}, x)) != upper ? 1 : 0;
      }
    }
  }
  return different;
}

/// Of a sixth of every mantissa and of what block scales are divided by, every mantissa too: quotients that are not the true
/// ones.
#if defined(__x86_64__)
__attribute__((target("fma")))
#endif
std::uint32_t
different_by_reciprocal() {
  std::uint32_t different = 0;
  auto const check = [&](float a, float divisor) {
    different += cull::detail::quotient_by_reciprocal(fused{}, a, divisor, 1.0f / divisor) == a / divisor ? 0 : 1;
  };
  for (std::uint32_t m = 0; m < 1u << 23; m += mantissa_step) {
    float const number = std::bit_cast<float>(0x3f800000u | m);
    for (float const power : {0x1p-100f, 1.0f, 0x1p+127f}) check(number * power, 6.0f);
    for (int scale = 8; scale < 16; ++scale) check(static_cast<float>(scale), number);
    for (float const power : {0x1p-100f, 0x1p+99f}) {
      check(0x1p-9f, number * power);
      check(448.0f, number * power);
    }
  }
  return different;
}

}  // namespace

TEST_CASE("a sixth, and a block scale by any factor, by reciprocals: the true quotients") {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("fma")) return;
#endif
  CHECK(different_by_reciprocal() == 0);
}

TEST_CASE("a block's quotients fall on the sides of the codes' borders where true division puts them") {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("fma")) return;
#endif
  for (auto const& b : borders) CHECK(different_quotients(b) == 0);
  std::uint32_t excluded = 0;
  for (std::uint32_t m = 0; m < 1u << 23; ++m) {
    excluded += cull::detail::block_quotient::serves(std::bit_cast<float>(0x3f800000u | m), 1.0f) ? 0 : 1;
  }
  CHECK(excluded == 1);
}

TEST_CASE("a block's quotients keep small numbers' signs, and zero has none") {
  for (float const divisor : {0x1p-100f, 0.013f, 0.5f, 77.0f, 0x1p100f}) {
    cull::detail::block_quotient const over{divisor, cull::detail::block_quotient::reciprocal_of(fused{}, divisor)};
    for (std::uint32_t bits = 1; bits < 0x3f800000u; bits += bits < 999 ? 1 : 0x1357u) {
      float const x = std::bit_cast<float>(bits) * divisor;
      if (x == 0.0f) continue;
      if (std::signbit(over(fused{}, x)) || !std::signbit(over(fused{}, -x))) FAIL(x, " / ", divisor);
    }
    CHECK(std::bit_cast<std::uint32_t>(over(fused{}, -0.0f)) == 0);
  }
}

TEST_CASE("rounding to e2m1 by addition is e2m1's encoding") {
  auto const check = [](std::uint32_t bits) {
    float const value = std::bit_cast<float>(bits);
    if (std::isnan(value)) return;
    auto const code = cull::detail::round_to_e2m1(value, std::min(std::abs(value), 6.0f));
    if (code != cull::e2m1::encode(value).bits) FAIL("value ", value, " becomes ", code);
  };
  for (std::uint64_t bits = 0; bits < 1ull << 32; bits += 257 * mantissa_step) check(static_cast<std::uint32_t>(bits));
  for (auto const& b : borders) {
    for (std::uint32_t beside = 0; beside < 9; ++beside) {
      auto const bits = std::bit_cast<std::uint32_t>(b.at) - 4 + beside;
      check(bits);
      check(bits | 0x80000000u);
    }
  }
}
