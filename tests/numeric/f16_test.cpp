// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include <cull/numeric.hpp>
#include <numeric/floats.hpp>

#if __has_include(<cuda_fp16.h>)
#include <cuda_fp16.h>
#endif

namespace {

using cull::f16;
using namespace numeric_test;

double formula(unsigned magnitude) {
  int const exponent = static_cast<int>(magnitude >> 10);
  double const mantissa = magnitude & 1023;
  return exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1 + mantissa / 1024, exponent - 15);
}

/// The last entry is 2^16 in place of infinity: from half a step below it on, numbers round there.
code_table all_values() {
  std::vector<double> values;
  for (unsigned m = 0; m <= 0x7c00; ++m) values.push_back(formula(m));
  return code_table{values};
}

bool encoded_right(code_table const& table, float x) {
  unsigned const code = f16::encode(x).bits;
  bool const sign_kept = (code >= 0x8000) == std::signbit(x);
  if (std::isnan(x)) return sign_kept && (code & 0x7fff) == (0x7e00 | (std::bit_cast<std::uint32_t>(x) >> 13 & 0x3ff));
  return sign_kept && (code & 0x7fff) == table.nearest_even(std::fabs(static_cast<double>(x)));
}

static_assert(sizeof(f16) == 2);
static_assert(f16::encode(1.0f).bits == 0x3c00 && f16{0xc000}.decode() == -2.0f);
static_assert(f16::encode(0x1.002p0f).bits == 0x3c00 && f16::encode(0x1.006p0f).bits == 0x3c02);
static_assert(f16::encode(0x3p-25f).bits == 2 && f16::encode(0x1p-25f).bits == 0);

}  // namespace

TEST_CASE("f16: every code decodes to the formula") {
  tally seen;
  for (unsigned code = 0; code < (1u << 16); ++code) {
    float const value = f16{static_cast<std::uint16_t>(code)}.decode();
    unsigned const magnitude = code & 0x7fff;
    bool const sign = std::signbit(value) == (code >= 0x8000);
    bool const right = magnitude > 0x7c00    ? std::isnan(value)
                       : magnitude == 0x7c00 ? std::isinf(value)
                                             : std::fabs(value) == formula(magnitude);
    seen.add(sign && right, value);
  }
  CHECK_MESSAGE(seen.wrong == 0, "first at pattern " << seen.first);
}

TEST_CASE("f16: every code encodes back to itself; a signalling NaN becomes quiet") {
  tally seen;
  for (unsigned code = 0; code < (1u << 16); ++code) {
    unsigned const expected = (code & 0x7fff) > 0x7c00 ? code | 0x200 : code;
    float const value = f16{static_cast<std::uint16_t>(code)}.decode();
    seen.add(f16::encode(value).bits == expected, value);
  }
  CHECK_MESSAGE(seen.wrong == 0, "first at pattern " << seen.first);
}

TEST_CASE("f16: encode finds the nearest code, ties to even; NaN stays NaN with its sign and payload") {
  auto const table = all_values();
  auto const seen = tally_floats(table, [&](float x) { return encoded_right(table, x); });
  CHECK(seen.tried > (1u << 24));
  CHECK_MESSAGE(seen.wrong == 0, "first at pattern " << seen.first);
}

TEST_CASE("f16: overflow to infinity begins half a step above the largest") {
  CHECK(f16::encode(65504.0f).bits == 0x7bff);
  CHECK(f16::encode(std::nextafterf(65520.0f, 0.0f)).bits == 0x7bff);
  CHECK(f16::encode(65520.0f).bits == 0x7c00);
  CHECK(f16::encode(-std::numeric_limits<float>::infinity()).bits == 0xfc00);
  CHECK(f16::encode(-0.0f).bits == 0x8000);
  CHECK(f16::encode(std::bit_cast<float>(0x00000001u)).bits == 0);
}

TEST_CASE("f16: equality is of bits") {
  CHECK(f16{0x7e00} == f16{0x7e00});
  CHECK(f16{0x0000} != f16{0x8000});
}

#if __has_include(<cuda_fp16.h>)
TEST_CASE("f16: encode and decode are cuda_fp16.h's") {
  auto const seen = tally_floats(all_values(), [](float x) {
    unsigned const theirs = __half_raw(__float2half_rn(x)).x;
    return std::isnan(x) ? (theirs & 0x7fff) > 0x7c00 : f16::encode(x).bits == theirs;
  });
  CHECK_MESSAGE(seen.wrong == 0, "first at pattern " << seen.first);
  for (unsigned code = 0; code < (1u << 16); ++code) {
    __half_raw raw;
    raw.x = static_cast<unsigned short>(code);
    float const ours = f16{static_cast<std::uint16_t>(code)}.decode(), theirs = __half2float(__half(raw));
    if (std::isnan(ours) ? !std::isnan(theirs) : ours != theirs) FAIL_CHECK("code " << code);
  }
}
#endif
