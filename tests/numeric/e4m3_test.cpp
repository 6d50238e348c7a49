// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include <cull/numeric.hpp>
#include <numeric/floats.hpp>

#if __has_include(<cuda_fp8.h>)
#include <cuda_fp8.h>
#endif

namespace {

using cull::e4m3;
using namespace numeric_test;

double formula(unsigned magnitude) {
  int const exponent = static_cast<int>(magnitude >> 3);
  double const mantissa = magnitude & 7;
  return exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(1 + mantissa / 8, exponent - 7);
}

code_table all_values() {
  std::vector<double> values;
  for (unsigned m = 0; m <= 0x7e; ++m) values.push_back(formula(m));
  return code_table{values};
}

static_assert(e4m3::encode(1.0f).bits == 0x38 && e4m3::encode(-500.0f).bits == 0xfe);
static_assert(e4m3{0x7e}.decode() == e4m3::max && e4m3::max == 448.0f);
static_assert(e4m3::encode(0x3p-11f).bits == 1 && e4m3{0xff}.is_nan() && !e4m3{0x7e}.is_nan());

}  // namespace

TEST_CASE("e4m3: every code decodes to the formula") {
  for (unsigned code = 0; code < 256; ++code) {
    e4m3 const coded{static_cast<std::uint8_t>(code)};
    float const value = coded.decode();
    bool const nan = (code & 0x7f) == 0x7f;
    CHECK(std::isnan(value) == nan);
    CHECK(coded.is_nan() == nan);
    CHECK(std::signbit(value) == (code >= 0x80));
    if (!nan) CHECK(std::fabs(value) == formula(code & 0x7f));
  }
}

TEST_CASE("e4m3: every finite code encodes back to itself, NaN to 0x7f") {
  for (unsigned code = 0; code < 256; ++code) {
    unsigned const expected = (code & 0x7f) == 0x7f ? 0x7f : code;
    CHECK(e4m3::encode(e4m3{static_cast<std::uint8_t>(code)}.decode()).bits == expected);
  }
}

TEST_CASE("e4m3: encode finds the nearest code, ties to even, saturating") {
  auto const table = all_values();
  auto const seen = tally_floats(table, [&](float x) {
    unsigned const expected = std::isnan(x) ? 0x7f : table.nearest_even(std::fabs(x)) + (std::signbit(x) ? 0x80 : 0);
    return e4m3::encode(x).bits == expected;
  });
  CHECK(seen.tried > (1u << 24));
  CHECK_MESSAGE(seen.wrong == 0, "first at pattern " << seen.first);
}

TEST_CASE("e4m3: saturation, subnormals, ties, signed zero by name") {
  float const infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(e4m3::encode(464.0f).bits == 0x7e);
  CHECK(e4m3::encode(std::nextafterf(464.0f, 1e9f)).bits == 0x7e);
  CHECK(e4m3::encode(infinity).bits == 0x7e);
  CHECK(e4m3::encode(-infinity).bits == 0xfe);
  CHECK(e4m3::encode(nan).bits == 0x7f);
  CHECK(e4m3::encode(-nan).bits == 0x7f);
  CHECK(e4m3::encode(0x1p-10f).bits == 0x00);
  CHECK(e4m3::encode(std::nextafterf(0x1p-10f, 1.0f)).bits == 0x01);
  CHECK(e4m3::encode(-0.0f).bits == 0x80);
  CHECK(e4m3::encode(1.0625f).bits == 0x38);
  CHECK(e4m3::encode(1.1875f).bits == 0x3a);
  CHECK(e4m3::encode(17.0f).bits == 0x58);
  CHECK(e4m3::encode(19.0f).bits == 0x5a);
}

#if __has_include(<cuda_fp8.h>)
TEST_CASE("e4m3: encode is cuda_fp8.h's with SATFINITE") {
  auto const seen = tally_floats(all_values(), [](float x) {
    return e4m3::encode(x).bits == __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3);
  });
  CHECK_MESSAGE(seen.wrong == 0, "first at pattern " << seen.first);
}

TEST_CASE("e4m3: decode is cuda_fp8.h's") {
  for (unsigned code = 0; code < 256; ++code) {
    __nv_fp8_e4m3 theirs;
    theirs.__x = static_cast<__nv_fp8_storage_t>(code);
    float const value = e4m3{static_cast<std::uint8_t>(code)}.decode();
    CHECK((std::isnan(value) ? std::isnan(static_cast<float>(theirs)) : value == static_cast<float>(theirs)));
  }
}
#endif
