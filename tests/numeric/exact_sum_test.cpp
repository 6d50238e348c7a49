// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <utility>
#include <vector>

#include <cull/numeric.hpp>

namespace {

using cull::errc;
using cull::exact_sum;
using cull::sum_status;

__extension__ typedef __int128 wide;

/// A whole number of units of 2^-80 as high * 2^72 + low, low in [0, 2^72): not how the library holds it.
class whole {
 public:
  whole() = default;
  /// `value` in units, rounded to a whole number, ties to even; x87's 64-bit significand holds both steps exactly.
  explicit whole(double value) {
    long double const units = std::rint(std::ldexp(static_cast<long double>(value), 80));
    long double const high = std::trunc(std::ldexp(units, -72));
    high_ = static_cast<wide>(high);
    low_ = static_cast<wide>(units - std::ldexp(high, 72));
    *this = normal();
  }
  /// Horner's scheme in 2^32 by doubling; limbs may have any size and sign.
  explicit whole(exact_sum::limb_array const& limbs) {
    for (auto limb = limbs.rbegin(); limb != limbs.rend(); ++limb) {
      for (int bit = 0; bit < 32; ++bit) *this = *this + *this;
      low_ += *limb;
      *this = normal();
    }
  }
  friend whole operator+(whole a, whole const& b) {
    a.high_ += b.high_;
    a.low_ += b.low_;
    return a.normal();
  }
  friend whole operator-(whole a, whole const& b) {
    a.high_ -= b.high_;
    a.low_ -= b.low_;
    return a.normal();
  }
  friend bool operator==(whole const&, whole const&) = default;
  friend auto operator<=>(whole const&, whole const&) = default;  // high_ first

 private:
  whole normal() const {
    wide const carry = low_ >> 72;
    whole out;
    out.high_ = high_ + carry;
    out.low_ = low_ - (carry << 72);
    return out;
  }

  wide high_ = 0;
  wide low_ = 0;
};

bool is_whole(double value) { return std::rint(std::ldexp(value, 80)) == std::ldexp(value, 80); }

/// Whether `value` is the f64 nearest to `sum`, ties to the even significand.
bool is_nearest(double value, whole const& sum) {
  whole const at{value};
  if (at == sum) return is_whole(value);
  double const next = std::nextafter(value, at < sum ? HUGE_VAL : -HUGE_VAL);
  if (!is_whole(next)) return false;
  whole const here = at < sum ? sum - at : at - sum;
  whole const there = at < sum ? whole{next} - sum : sum - whole{next};
  bool const even = (std::bit_cast<std::uint64_t>(value) & 1) == 0;
  return here < there || (here == there && even);
}

exact_sum sum_of(std::vector<double> const& values) {
  exact_sum sum;
  for (double const value : values) sum.add(value);
  return sum;
}

std::vector<double> random_values(int count, int lowest, int highest, unsigned seed) {
  std::mt19937_64 random{seed};
  std::uniform_int_distribution<int> exponent{lowest, highest};
  std::uniform_real_distribution<double> significand{1, 2};
  std::vector<double> out;
  for (int i = 0; i < count; ++i) {
    double const value = std::ldexp(significand(random), exponent(random));
    out.push_back(random() % 2 == 0 ? value : -value);
  }
  return out;
}

bool is_canonical(exact_sum::limb_array const& limbs) {
  return std::all_of(limbs.begin(), limbs.end() - 1, [](auto limb) { return limb >= 0 && limb <= 0xffffffff; });
}

void check_sum(std::vector<double> const& values) {
  whole expected;
  for (double const value : values) expected = expected + whole{value};
  auto const sum = sum_of(values);
  CHECK(is_canonical(sum.limbs()));
  CHECK(whole{sum.limbs()} == expected);
  CHECK(is_nearest(sum.value(), expected));
}

double const unit = 0x1p-80;

constexpr exact_sum::limb_array at_compile_time() {
  exact_sum a, b;
  a.add(1.5);
  b.add(-2.0);
  a.merge(b);
  return a.limbs();
}
static_assert(at_compile_time() == exact_sum::limb_array{0, 0, 0xffff8000, 0xffffffff, -1});

}  // namespace

TEST_CASE("exact_sum: sums of numbers of every size are exact, and round once") {
  for (unsigned seed = 0; seed < 20; ++seed) {
    check_sum(random_values(1000, -27, 63, seed));
    check_sum(random_values(1000, -100, -20, seed));
    check_sum(random_values(1000, -140, 63, seed));
    check_sum(random_values(3, -90, 63, seed));
  }
}

TEST_CASE("exact_sum: whatever the order and the split, the limbs are the same") {
  auto values = random_values(5000, -110, 63, 7);
  auto const expected = sum_of(values).limbs();
  std::mt19937 random{8};
  for (int round = 0; round < 20; ++round) {
    std::shuffle(values.begin(), values.end(), random);
    CHECK(sum_of(values).limbs() == expected);
    std::vector<exact_sum> parts(1 + random() % 40);
    for (double const value : values) parts[random() % parts.size()].add(value);
    while (parts.size() > 1) {
      auto const into = random() % (parts.size() - 1);
      parts[into].merge(parts.back());
      parts.pop_back();
    }
    CHECK(parts[0].limbs() == expected);
  }
}

TEST_CASE("exact_sum: what lies below the unit is rounded to it, ties to even") {
  std::pair<double, int> const cases[] = {
      {1, 1},       {0.5, 0},  {std::nextafter(0.5, 1), 1},  {std::nextafter(0.5, 0), 0}, {1.5, 2}, {2.5, 2}, {3.5, 4},
      {0x1p-52, 0}, {0.75, 1}, {1 + 0x1p-52, 1},             {0x1p-53, 0},                {0x1p-60, 0}};
  for (auto const& [units, expected] : cases) {
    CHECK(sum_of({units * unit}).value() == expected * unit);
    CHECK(sum_of({-units * unit}).value() == -expected * unit);
  }
}

TEST_CASE("exact_sum: zeros, subnormals and the smallest normals add nothing") {
  for (double const value : {0.0, -0.0, 5e-324, -5e-324, std::numeric_limits<double>::min(), 1e-300}) {
    CHECK(sum_of({value}) == exact_sum{});
    CHECK(sum_of({1.0, value}).value() == 1.0);
  }
  CHECK(!std::signbit(sum_of({-0.0}).value()));
}

TEST_CASE("exact_sum: value rounds to nearest, ties to even, for both signs") {
  double const big = 0x1p53;
  for (double const sign : {1.0, -1.0}) {
    CHECK(sum_of({sign * big, sign}).value() == sign * big);
    CHECK(sum_of({sign * big, sign, sign * unit}).value() == sign * (big + 2));
    CHECK(sum_of({sign * big, sign, -sign * unit}).value() == sign * big);
    CHECK(sum_of({sign * big, sign * 3}).value() == sign * (big + 4));
    CHECK(sum_of({sign * big, sign * 3, -sign * unit}).value() == sign * (big + 2));
    CHECK(sum_of({sign, sign * 0x1p-53}).value() == sign);
    CHECK(sum_of({sign, sign * 0x1p-53, sign * unit}).value() == sign * (1 + 0x1p-52));
  }
}

TEST_CASE("exact_sum: the smallest bit beside a tie decides it, wherever both lie") {
  int wrong = 0, tried = 0;
  for (int top = -26; top <= 63; ++top) {
    for (int low = -80; low < top - 53; ++low) {
      double const one = std::ldexp(1.0, top), half_step = std::ldexp(1.0, top - 53), bit = std::ldexp(1.0, low);
      double const above = one + 2 * half_step;
      wrong += sum_of({one, half_step, bit}).value() != above;
      wrong += sum_of({one, half_step, -bit}).value() != one;
      wrong += sum_of({-one, -half_step, -bit}).value() != -above;
      wrong += sum_of({-above, -half_step, bit}).value() != -above;
      ++tried;
    }
  }
  CHECK(tried > 4000);
  CHECK(wrong == 0);
}

TEST_CASE("exact_sum: cancellation leaves exactly what is left") {
  CHECK(sum_of({0x1p63, 1.0, unit, -0x1p63, -1.0}).value() == unit);
  CHECK(sum_of({0x1p63, 1.0, -unit, -0x1p63, -1.0}).value() == -unit);
  CHECK(sum_of({1e18, 0.1, -1e18}).value() == 0.1);
  auto values = random_values(1000, -27, 63, 3);
  for (std::size_t i = 0; i < 1000; ++i) values.push_back(-values[i]);
  CHECK(sum_of(values) == exact_sum{});
}

TEST_CASE("exact_sum: numbers below 2^64 only") {
  double const largest = std::nextafter(0x1p64, 0);
  CHECK(sum_of({largest}).value() == largest);
  CHECK(sum_of({-largest}).value() == -largest);
  exact_sum sum;
  CHECK(sum.try_add(0x1p64) == sum_status::out_of_range);
  CHECK(sum.try_add(-0x1p64) == sum_status::out_of_range);
  CHECK(sum.try_add(std::numeric_limits<double>::max()) == sum_status::out_of_range);
  CHECK(sum.try_add(largest) == sum_status::added);
}

TEST_CASE("exact_sum: a refused number has a code and leaves the sum as it was") {
  double const infinity = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
  std::pair<double, errc> const cases[] = {{nan, errc::not_finite},        {-nan, errc::not_finite},
                                           {infinity, errc::not_finite},   {-infinity, errc::not_finite},
                                           {0x1p64, errc::out_of_range},   {-0x1p64, errc::out_of_range},
                                           {1e300, errc::out_of_range}};
  for (auto const& [value, code] : cases) {
    auto sum = sum_of({3.25, -1e-9});
    auto const before = sum.limbs();
    auto const status = code == errc::not_finite ? sum_status::not_finite : sum_status::out_of_range;
    CHECK(sum.try_add(value) == status);
    try {
      sum.add(value);
      FAIL_CHECK("no error");
    } catch (cull::error const& e) {
      CHECK(e.code() == code);
    }
    CHECK(sum.limbs() == before);
  }
}

TEST_CASE("exact_sum: a hundred thousand of the largest, and of the smallest below zero") {
  double const largest = std::nextafter(0x1p64, 0);
  std::vector<double> values(100000, largest);
  CHECK(sum_of(values).value() == 100000 * largest);
  values.insert(values.end(), 200000, -largest);
  CHECK(sum_of(values).value() == -100000 * largest);
  check_sum(values);
  check_sum(std::vector<double>(300000, -unit));
  check_sum(random_values(300000, -90, 63, 11));
}

TEST_CASE("exact_sum: millions of adds without a merge between them") {
  double const largest = std::nextafter(0x1p64, 0), small = std::nextafter(0.25, 0);
  exact_sum sum;
  for (int i = 0; i < 2000000; ++i) sum.add(i % 2 == 0 ? -largest : largest);
  CHECK(sum == exact_sum{});
  for (int i = 0; i < 2000000; ++i) sum.add(-small);
  CHECK(sum.value() == -2000000 * small);
}

TEST_CASE("exact_sum: merging more than 2^16 sums that were never carried") {
  exact_sum total;
  auto const part = sum_of({-1.0, 0x1p-40, -unit});
  for (int i = 0; i < 70000; ++i) total.merge(part);
  CHECK(whole{total.limbs()} == whole{-70000.0} + whole{70000 * 0x1p-40} + whole{-70000 * unit});
}

TEST_CASE("exact_sum: limbs by hand") {
  auto const minus_one = exact_sum::from_limbs({-1, 0, 0, 0, 0});
  CHECK(minus_one == sum_of({-unit}));
  CHECK(minus_one.limbs() == exact_sum::limb_array{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, -1});
  CHECK(exact_sum::from_limbs({std::int64_t{1} << 40, 0, 0, 0, 0}) == sum_of({0x1p-40}));
  CHECK(exact_sum{}.value() == 0);
}

TEST_CASE("exact_sum: limbs of any form become the canonical ones of the same value") {
  std::mt19937_64 random{5};
  for (int round = 0; round < 200; ++round) {
    exact_sum::limb_array raw{};
    for (auto& limb : raw) limb = static_cast<std::int64_t>(random() >> 2) * (random() % 2 == 0 ? 1 : -1);
    auto const sum = exact_sum::from_limbs(raw);
    CHECK(is_canonical(sum.limbs()));
    CHECK(whole{sum.limbs()} == whole{raw});
    CHECK(exact_sum::from_limbs(sum.limbs()).limbs() == sum.limbs());
    auto carried = sum;
    carried.carry();
    CHECK(carried == sum);
  }
}

TEST_CASE("exact_sum: states saved and read back go on as if nothing had happened") {
  auto const values = random_values(2000, -90, 63, 13);
  auto const half = static_cast<std::ptrdiff_t>(values.size() / 2);
  auto sum = exact_sum::from_limbs(sum_of({values.begin(), values.begin() + half}).limbs());
  for (auto at = values.begin() + half; at != values.end(); ++at) sum.add(*at);
  CHECK(sum.limbs() == sum_of(values).limbs());
}

TEST_CASE("exact_sum: sums reduced limb by limb elsewhere are the merged sum") {
  auto const a = random_values(500, -90, 63, 17), b = random_values(500, -90, 63, 18);
  auto limbs = sum_of(a).limbs();
  auto const other = sum_of(b).limbs();
  for (std::size_t i = 0; i < limbs.size(); ++i) limbs[i] += other[i];
  auto merged = sum_of(a);
  merged.merge(sum_of(b));
  CHECK(exact_sum::from_limbs(limbs) == merged);
}

TEST_CASE("exact_sum: try_add_wide takes what is below 2^96, and below 2^64 what try_add adds") {
  for (int exponent = -90; exponent < 100; ++exponent) {
    for (double const fraction : {1.0, 0x1.123456789abcdp0, 0x1.fffffffffffffp0}) {
      for (double const value : {std::ldexp(fraction, exponent), -std::ldexp(fraction, exponent)}) {
        CAPTURE(value);
        cull::exact_sum sum;
        CHECK((sum.try_add_wide(value) == cull::sum_status::added) == (exponent < 96));
        if (exponent >= 96) CHECK(sum == cull::exact_sum{});
        if (exponent >= 64) continue;
        cull::exact_sum narrow;
        narrow.add(value);
        CHECK(sum == narrow);
      }
      if (exponent < 64 || exponent >= 96) continue;
      // The limbs are those of the number 2^32 below, moved by one; the last takes two.
      double const value = std::ldexp(fraction, exponent);
      cull::exact_sum sum, below;
      CHECK(sum.try_add_wide(value) == cull::sum_status::added);
      CHECK(sum.value() == value);
      CHECK(below.try_add(std::ldexp(value, -32)) == cull::sum_status::added);
      for (std::size_t limb = 0; limb + 2 < cull::exact_sum::limb_count; ++limb)
        CHECK(sum.limbs()[limb + 1] == below.limbs()[limb]);
      CHECK(sum.limbs()[4] == (below.limbs()[4] << 32) + below.limbs()[3]);
      CHECK(sum.try_add_wide(-value) == cull::sum_status::added);
      CHECK(sum == cull::exact_sum{});
    }
  }
  cull::exact_sum sum;
  CHECK(sum.try_add_wide(std::numeric_limits<double>::infinity()) == cull::sum_status::not_finite);
  CHECK(sum.try_add_wide(std::numeric_limits<double>::quiet_NaN()) == cull::sum_status::not_finite);
}
