// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
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

/// A whole number of units of 2^-80, as high * 2^72 + low with low in [0, 2^72): independent of how the library holds it.
class whole {
 public:
  whole() = default;
  /// `value` in units, rounded to a whole number, ties to even; x87's 64-bit significand holds both steps exactly.
  explicit whole(double value) {
    long double const units = std::rint(std::ldexp(static_cast<long double>(value), 80));
    long double const high = std::floor(std::ldexp(units, -72));
    high_ = static_cast<wide>(high);
    low_ = static_cast<wide>(units - std::ldexp(high, 72));
  }
  explicit whole(exact_sum::limb_array const& limbs) {
    for (int i = 4; i >= 0; --i) {
      for (int bit = 0; bit < 32; ++bit) *this = *this + *this;
      whole limb;
      limb.low_ = limbs[static_cast<std::size_t>(i)];
      *this = *this + limb;
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
  return std::all_of(limbs.begin(), limbs.end() - 1, [](auto limb) { return limb >= 0 && limb < (std::int64_t{1} << 32); });
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
static_assert(at_compile_time() == exact_sum::limb_array{0, 0, 0x8000, 0xffffffffffff0000 >> 16 & 0xffffffff, -1} ||
              at_compile_time()[4] == -1);

}  // namespace
