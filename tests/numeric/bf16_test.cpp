// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include <cull/numeric.hpp>
#include <numeric/floats.hpp>

namespace {

using cull::bf16;
using namespace numeric_test;

double formula(unsigned magnitude) {
  int const exponent = static_cast<int>(magnitude >> 7);
  double const mantissa = magnitude & 127;
  return exponent == 0 ? std::ldexp(mantissa, -133) : std::ldexp(1 + mantissa / 128, exponent - 127);
}

/// The last entry is 2^128 in place of infinity: from half a step below it on, numbers round there.
code_table all_values() {
  std::vector<double> values;
  for (unsigned m = 0; m <= 0x7f80; ++m) values.push_back(formula(m));
  return code_table{values};
}

bool encoded_right(code_table const& table, float x) {
  unsigned const code = bf16::encode(x).bits;
  bool const sign_kept = (code >= 0x8000) == std::signbit(x);
  if (std::isnan(x)) return sign_kept && (code & 0x7fff) > 0x7f80 && (code & 0x40) != 0;
  return sign_kept && (code & 0x7fff) == table.nearest_even(std::fabs(static_cast<double>(x)));
}

static_assert(sizeof(bf16) == 2);
static_assert(bf16::encode(1.0f).bits == 0x3f80 && bf16{0xc000}.decode() == -2.0f);
static_assert(bf16::encode(0x1.01p0f).bits == 0x3f80 && bf16::encode(0x1.03p0f).bits == 0x3f82);

}  // namespace

TEST_CASE("bf16: every code decodes to the formula") {
  tally seen;
  for (unsigned code = 0; code < (1u << 16); ++code) {
    float const value = bf16{static_cast<std::uint16_t>(code)}.decode();
    unsigned const magnitude = code & 0x7fff;
    bool const sign = std::signbit(value) == (code >= 0x8000);
    bool const right = magnitude > 0x7f80    ? std::isnan(value)
                       : magnitude == 0x7f80 ? std::isinf(value)
                                             : std::fabs(value) == formula(magnitude);
    seen.add(sign && right, value);
  }
  CHECK_MESSAGE(seen.wrong == 0, "first at pattern " << seen.first);
}

TEST_CASE("bf16: every code encodes back to itself; a signalling NaN becomes quiet") {
  tally seen;
  for (unsigned code = 0; code < (1u << 16); ++code) {
    unsigned const expected = (code & 0x7fff) > 0x7f80 ? code | 0x40 : code;
    float const value = bf16{static_cast<std::uint16_t>(code)}.decode();
    seen.add(bf16::encode(value).bits == expected, value);
  }
  CHECK_MESSAGE(seen.wrong == 0, "first at pattern " << seen.first);
}

TEST_CASE("bf16: encode finds the nearest code, ties to even; NaN stays NaN with its sign") {
  auto const table = all_values();
  auto const seen = tally_floats(table, [&](float x) { return encoded_right(table, x); });
  CHECK(seen.tried > (1u << 24));
  CHECK_MESSAGE(seen.wrong == 0, "first at pattern " << seen.first);
}

TEST_CASE("bf16: overflow to infinity begins half a step above the largest") {
  CHECK(bf16::encode(std::bit_cast<float>(0x7f7f7fffu)).bits == 0x7f7f);
  CHECK(bf16::encode(std::bit_cast<float>(0x7f7f8000u)).bits == 0x7f80);
  CHECK(bf16::encode(-std::numeric_limits<float>::max()).bits == 0xff80);
  CHECK(std::isnan(bf16::encode(std::bit_cast<float>(0x7f800001u)).decode()));
}

TEST_CASE("bf16: equality is of bits") {
  CHECK(bf16{0x7fc0} == bf16{0x7fc0});
  CHECK(bf16{0x0000} != bf16{0x8000});
}
