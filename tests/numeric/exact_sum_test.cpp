// SPDX-License-Identifier: Apache-2.0
// exact_sum against integers of 192 bits that are added digit by digit.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include <cull/numeric/exact_sum.hpp>

namespace {

/// A signed number in units of 2^-80, as 24 bytes of a sum kept in int64 per byte until it is read.
class byte_sum {
 public:
  void add(double x) {
    // x in units of 2^-80, to the nearest integer, ties to even: long double holds it exactly while it is small enough to round.
    int exponent = 0;
    double const fraction = std::frexp(std::fabs(x), &exponent);  // |x| = fraction * 2^exponent
    auto mantissa = static_cast<std::uint64_t>(std::ldexp(fraction, 53));
    int shift = exponent - 53 + 80;
    if (shift < 0) {
      mantissa = static_cast<std::uint64_t>(std::nearbyint(std::ldexp(static_cast<double>(mantissa), std::max(shift, -120))));
      shift = 0;
    }
    for (; mantissa != 0; mantissa >>= 1, ++shift) {
      if (mantissa & 1) bytes_[static_cast<std::size_t>(shift / 8)] += (x < 0 ? -1 : 1) * (std::int64_t{1} << (shift % 8));
    }
  }
  /// Limbs of 32 bits, the last one signed.
  std::array<std::int64_t, 5> limbs() const {
    std::array<std::int64_t, 5> out{};
    std::int64_t carry = 0;
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
      auto const total = bytes_[i] + carry;
      auto digit = total % 256;
      if (digit < 0) digit += 256;
      carry = (total - digit) / 256;
      if (i < 20) out[i / 4] |= digit << (8 * (i % 4));
    }
    out[4] = (out[4] ^ 0x80000000) - 0x80000000;
    return out;
  }

 private:
  std::array<std::int64_t, 24> bytes_{};
};

std::vector<double> addends(std::size_t count, unsigned seed, int low, int high) {
  std::mt19937_64 random{seed};
  std::uniform_int_distribution<int> exponent{low, high};
  std::vector<double> out;
  for (std::size_t i = 0; i < count; ++i) {
    double const mantissa = static_cast<double>(random() >> 11) + 1;
    out.push_back(std::ldexp(random() % 2 ? mantissa : -mantissa, exponent(random) - 53));
  }
  return out;
}

cull::exact_sum sum_of(std::vector<double> const& values) {
  cull::exact_sum s;
  for (double const v : values) s.add(v);
  return s;
}

cull::exact_sum constexpr at_compile_time() {
  cull::exact_sum s;
  s.add(1.5);
  s.add(-0.25);
  return s;
}
static_assert(at_compile_time() == [] {
  cull::exact_sum s;
  s.add(1.25);
  return s;
}());

}  // namespace

TEST_CASE("exact_sum: digit by digit right, over the whole range of addends") {
  for (auto const& [low, high] : {std::pair{-100, 63}, {-140, -60}, {-20, 20}, {40, 63}, {-79, -70}}) {
    auto const values = addends(3000, static_cast<unsigned>(low + 1000), low, high);
    byte_sum plain;
    cull::exact_sum sum;
    for (double const v : values) {
      plain.add(v);
      sum.add(v);
      REQUIRE(sum.limbs() == plain.limbs());
    }
  }
}

TEST_CASE("exact_sum: below its unit a number rounds to the nearest, ties to even") {
  auto const units = [](double x) { return sum_of({x}).limbs()[0]; };
  CHECK(units(0x1p-80) == 1);
  CHECK(units(0x1p-81) == 0);
  CHECK(units(0x1.8p-80) == 2);
  CHECK(units(0x1.4p-79) == 2);
  CHECK(units(0x1.cp-79) == 4);
  CHECK(units(0x1.0000000000001p-81) == 1);
  CHECK(units(0x1.fffffffffffffp-82) == 0);
  CHECK(units(5e-324) == 0);
  CHECK(sum_of({-0x1.0000000000001p-81}) == sum_of({-0x1p-80}));
}

TEST_CASE("exact_sum: any order and any split end in the same limbs") {
  auto values = addends(2000, 7, -90, 63);
  auto const whole = sum_of(values);
  std::mt19937 random{8};
  for (int round = 0; round < 20; ++round) {
    std::shuffle(values.begin(), values.end(), random);
    std::vector<cull::exact_sum> parts(1 + random() % 9);
    for (double const v : values) parts[random() % parts.size()].add(v);
    std::shuffle(parts.begin(), parts.end(), random);
    cull::exact_sum total;
    for (auto const& p : parts) total.merge(p);
    CHECK(total == whole);
    CHECK(total.limbs() == whole.limbs());
    CHECK(total.value() == whole.value());
  }
}

TEST_CASE("exact_sum: many adds without a carry between them") {
  cull::exact_sum sum;
  std::int64_t const times = 5'000'000;
  for (std::int64_t i = 0; i < times; ++i) sum.add(i % 2 ? 0x1.fffffffffffffp63 : -0x1.fffffffffffffp63);
  CHECK(sum.value() == 0);
  for (std::int64_t i = 0; i < times; ++i) sum.add(-0x1.fffffffffffffp-3);
  CHECK(sum.value() == -0x1.fffffffffffffp-3 * static_cast<double>(times));
}

TEST_CASE("exact_sum: value is rounded once, ties to even, either sign") {
  CHECK(cull::exact_sum{}.value() == 0);
  CHECK(sum_of({1, 0x1p-53}).value() == 1);
  CHECK(sum_of({1, 0x1p-52, 0x1p-53}).value() == 1 + 0x1p-51);
  CHECK(sum_of({1, 0x1p-53, 0x1p-80}).value() == 1 + 0x1p-52);
  CHECK(sum_of({-1, -0x1p-53, -0x1p-80}).value() == -1 - 0x1p-52);
  CHECK(sum_of({0x1p63, 0x1p63, 1}).value() == 0x1p64);
  CHECK(sum_of({0x1p60, -0x1p60, 3 * 0x1p-80}).value() == 3 * 0x1p-80);
  CHECK(sum_of({0x1p60, 0x1p7, 0x1p-80}).value() == 0x1p60 + 0x1p8);
  std::mt19937_64 random{9};
  for (int i = 0; i < 20000; ++i) {
    // Two numbers whose exact sum long double holds (64 bits), so that the compiler's own rounding is the reference.
    double const a = std::ldexp(static_cast<double>(random() >> 11), -static_cast<int>(random() % 20));
    double const b = std::ldexp(static_cast<double>(random() >> 11), -static_cast<int>(random() % 11));
    if (std::fabs(std::log2(a + 1) - std::log2(b + 1)) > 9) continue;
    long double const exact = static_cast<long double>(a) - static_cast<long double>(b);
    REQUIRE(sum_of({a, -b}).value() == static_cast<double>(exact));
  }
}

TEST_CASE("exact_sum: NaN, infinity and 2^64 are typed errors and change nothing") {
  auto sum = sum_of({1.5});
  auto const before = sum.limbs();
  auto const code = [&](double x) {
    try {
      sum.add(x);
    } catch (cull::error const& problem) {
      return problem.code();
    }
    return cull::errc::cancelled;
  };
  for (double const sign : {1.0, -1.0}) {
    CHECK(code(sign * std::numeric_limits<double>::infinity()) == cull::errc::not_finite);
    CHECK(code(sign * std::numeric_limits<double>::quiet_NaN()) == cull::errc::not_finite);
    CHECK(code(sign * 0x1p64) == cull::errc::out_of_range);
    CHECK(code(sign * 1e300) == cull::errc::out_of_range);
    CHECK(sum.try_add(sign * 0x1p64) == cull::sum_status::out_of_range);
    CHECK(sum.try_add(sign * 0x1.fffffffffffffp63) == cull::sum_status::added);
  }
  CHECK(sum.limbs() == before);
}

TEST_CASE("exact_sum: from_limbs brings any representation to the one canonical form") {
  auto const a = cull::exact_sum::from_limbs({-1, 0, 0, 0, 0});
  CHECK(a == sum_of({-0x1p-80}));
  CHECK(a.limbs() == std::array<std::int64_t, 5>{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, -1});
  CHECK(cull::exact_sum::from_limbs({std::int64_t{1} << 40, 0, 0, 0, 0}) == sum_of({0x1p-40}));
  auto const values = sum_of(addends(100, 11, -60, 60));
  CHECK(cull::exact_sum::from_limbs(values.limbs()) == values);
}
