// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include <cull/numeric.hpp>
#include <numeric/floats.hpp>

// The conversions to e8m0 came with the same toolkit as cuda_fp4.h.
#if __has_include(<cuda_fp4.h>)
#include <cuda_fp8.h>
#endif

namespace {

using cull::e8m0;
using namespace numeric_test;

code_table all_values() {
  std::vector<double> values;
  for (int code = 0; code < 255; ++code) values.push_back(std::ldexp(1.0, code - 127));
  return code_table{values};
}

/// All encoders against the same search, told apart by which code they pick.
template <class Encode, class Pick>
void check_encoder(Encode encode, Pick pick) {
  auto const table = all_values();
  auto const seen = tally_floats(table, [&](float x) {
    return encode(x).bits == (std::isnan(x) ? 0xffu : pick(table, std::fabs(static_cast<double>(x))));
  });
  CHECK(seen.tried > (1u << 24));
  CHECK_MESSAGE(seen.wrong == 0, "first at pattern " << seen.first);
}

static_assert(e8m0::encode(1.5f).bits == 128 && e8m0::encode(3.0f).bits == 128 && e8m0::encode(0.0f).bits == 0);
static_assert(e8m0::encode_floor(-3.9f).bits == 128 && e8m0::encode_ceil(2.1f).bits == 129);
static_assert(e8m0{0}.decode() == 0x1p-127f && e8m0{0xfe}.decode() == 0x1p127f);

}  // namespace

TEST_CASE("e8m0: every code decodes to its power of two, 0xff to NaN") {
  for (int code = 0; code < 255; ++code) {
    CHECK(e8m0{static_cast<std::uint8_t>(code)}.decode() == std::ldexp(1.0, code - 127));
  }
  CHECK(std::isnan(e8m0{0xff}.decode()));
}

TEST_CASE("e8m0: every code encodes back to itself in all three roundings") {
  for (unsigned code = 0; code < 256; ++code) {
    float const value = e8m0{static_cast<std::uint8_t>(code)}.decode();
    CHECK(e8m0::encode(value).bits == code);
    CHECK(e8m0::encode_floor(value).bits == code);
    CHECK(e8m0::encode_ceil(value).bits == code);
  }
}

TEST_CASE("e8m0: encode finds the nearest power by value, ties to the even code") {
  check_encoder(e8m0::encode, [](code_table const& t, double a) { return t.nearest_even(a); });
}

TEST_CASE("e8m0: encode_floor finds the largest power not above") {
  check_encoder(e8m0::encode_floor, [](code_table const& t, double a) { return t.floor(a); });
}

TEST_CASE("e8m0: encode_ceil finds the smallest power not below") {
  check_encoder(e8m0::encode_ceil, [](code_table const& t, double a) { return t.ceil(a); });
}

TEST_CASE("e8m0: zero, infinity, NaN and sign by name") {
  float const infinity = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  for (auto const encode : {e8m0::encode, e8m0::encode_floor, e8m0::encode_ceil}) {
    CHECK(encode(0.0f).bits == 0x00);
    CHECK(encode(-0.0f).bits == 0x00);
    CHECK(encode(infinity).bits == 0xfe);
    CHECK(encode(std::numeric_limits<float>::max()).bits == 0xfe);
    CHECK(encode(nan).bits == 0xff);
    CHECK(encode(-nan).bits == 0xff);
    CHECK(encode(-2.0f).bits == 0x80);
  }
}

#if __has_include(<cuda_fp4.h>)
TEST_CASE("e8m0: encode_floor and encode_ceil are cuda_fp8.h's") {
  auto const seen = tally_floats(all_values(), [](float x) {
    return e8m0::encode_floor(x).bits == __nv_cvt_float_to_e8m0(x, __NV_SATFINITE, cudaRoundZero) &&
           e8m0::encode_ceil(x).bits == __nv_cvt_float_to_e8m0(x, __NV_SATFINITE, cudaRoundPosInf);
  });
  CHECK_MESSAGE(seen.wrong == 0, "first at pattern " << seen.first);
}
#endif
