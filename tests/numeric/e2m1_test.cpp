// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include <cull/numeric.hpp>
#include <numeric/floats.hpp>

#if __has_include(<cuda_fp4.h>)
#include <cuda_fp4.h>
#endif

namespace {

using cull::e2m1;
using namespace numeric_test;

double formula(unsigned magnitude) {
  unsigned const exponent = magnitude >> 1, mantissa = magnitude & 1;
  return exponent == 0 ? 0.5 * mantissa : std::ldexp(1.0 + 0.5 * mantissa, static_cast<int>(exponent) - 1);
}

code_table all_values() {
  std::vector<double> values;
  for (unsigned m = 0; m < 8; ++m) values.push_back(formula(m));
  return code_table{values};
}

static_assert(e2m1::encode(2.5f).bits == 4 && e2m1::encode(-3.5f).bits == 0xe && e2m1{0xd}.decode() == -3.0f);
static_assert(e2m1{7} == e2m1::encode(6.0f) && e2m1{0} != e2m1{8});

}  // namespace

TEST_CASE("e2m1: every code decodes to the formula, and the high nibble is not looked at") {
  for (unsigned code = 0; code < 256; ++code) {
    float const value = e2m1{static_cast<std::uint8_t>(code)}.decode();
    CHECK(std::fabs(value) == formula(code & 7));
    CHECK(std::signbit(value) == ((code & 8) != 0));
  }
}

TEST_CASE("e2m1: every code encodes back to itself") {
  for (std::uint8_t code = 0; code < 16; ++code) CHECK(e2m1::encode(e2m1{code}.decode()).bits == code);
}

TEST_CASE("e2m1: encode finds the nearest code, ties to even, saturating") {
  auto const table = all_values();
  auto const seen = tally_floats(table, [&](float x) {
    unsigned const expected = std::isnan(x) ? 7 : table.nearest_even(std::fabs(x)) + (std::signbit(x) ? 8 : 0);
    return e2m1::encode(x).bits == expected;
  });
  CHECK(seen.tried > (1u << 24));
  CHECK_MESSAGE(seen.wrong == 0, "first at pattern " << seen.first);
}

TEST_CASE("e2m1: ties, infinities, NaN and signed zero by name") {
  float const ties[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};
  unsigned const even[] = {0, 2, 2, 4, 4, 6, 6};
  for (int i = 0; i < 7; ++i) {
    CHECK(e2m1::encode(ties[i]).bits == even[i]);
    CHECK(e2m1::encode(-ties[i]).bits == even[i] + 8);
  }
  float const infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  CHECK(e2m1::encode(infinity).bits == 7);
  CHECK(e2m1::encode(-infinity).bits == 15);
  CHECK(e2m1::encode(nan).bits == 7);
  CHECK(e2m1::encode(-nan).bits == 7);
  CHECK(e2m1::encode(0.0f).bits == 0);
  CHECK(e2m1::encode(-0.0f).bits == 8);
}

#if __has_include(<cuda_fp4.h>)
TEST_CASE("e2m1: encode is cuda_fp4.h's") {
  auto const seen = tally_floats(all_values(), [](float x) {
    return e2m1::encode(x).bits == __nv_cvt_float_to_fp4(x, __NV_E2M1, cudaRoundNearest);
  });
  CHECK_MESSAGE(seen.wrong == 0, "first at pattern " << seen.first);
}

TEST_CASE("e2m1: decode is cuda_fp4.h's") {
  for (std::uint8_t code = 0; code < 16; ++code) {
    __nv_fp4_e2m1 theirs;
    theirs.__x = code;
    float const value = e2m1{code}.decode();
    CHECK(value == static_cast<float>(theirs));
    CHECK(std::signbit(value) == std::signbit(static_cast<float>(theirs)));
  }
}
#endif
