// SPDX-License-Identifier: Apache-2.0
// The number codecs on their whole domains, against closed formulas and, where the toolkit is installed, CUDA's own host functions.
#include <doctest/doctest.h>

#include <cmath>

#include <cull/numeric.hpp>

#include "floats.hpp"

namespace {

using namespace numeric_test;

std::vector<double> e4m3_values() {
  std::vector<double> out;
  for (int code = 0; code < 127; ++code) {
    int const exponent = code / 8, mantissa = code % 8;
    out.push_back(exponent == 0 ? mantissa * std::pow(2.0, -9) : (1 + mantissa / 8.0) * std::pow(2.0, exponent - 7));
  }
  return out;
}

}  // namespace

TEST_CASE("e2m1: sixteen values") {
  double const values[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  for (unsigned code = 0; code < 16; ++code) {
    float const value = cull::e2m1{static_cast<std::uint8_t>(code)}.decode();
    CHECK(static_cast<double>(value) == (code < 8 ? values[code] : -values[code - 8]));
    CHECK(std::signbit(value) == (code >= 8));
    CHECK(cull::e2m1::encode(value).bits == code);
  }
  static_assert(cull::e2m1::encode(2.4f).bits == 4 && cull::e2m1{5}.decode() == 3.0f);
}

TEST_CASE("e2m1: nearest code of every sampled float") {
  nearest_by_search const nearest{{0, 0.5, 1, 1.5, 2, 3, 4, 6}};
  std::int64_t wrong = 0, tested = 0;
  for_floats([&](float x) {
    unsigned const wanted = std::isnan(x) ? 7 : nearest(std::fabs(static_cast<double>(x))) + (std::signbit(x) ? 8u : 0u);
    auto const ours = cull::e2m1::encode(x).bits;
    wrong += ours != wanted ? 1 : 0;
#ifdef CULL_TEST_CUDA_CODECS
    wrong += ours != __nv_cvt_float_to_fp4(x, __NV_E2M1, cudaRoundNearest) ? 1 : 0;
#endif
    ++tested;
  });
  CHECK(wrong == 0);
  CHECK(tested == 65536 + (1 << 24));
}

TEST_CASE("e4m3: all 256 codes") {
  auto const values = e4m3_values();
  for (unsigned code = 0; code < 256; ++code) {
    auto const byte = cull::e4m3{static_cast<std::uint8_t>(code)};
    float const value = byte.decode();
    if ((code & 127u) == 127) {
      CHECK(std::isnan(value));
      CHECK(byte.is_nan());
      continue;
    }
    CHECK(static_cast<double>(value) == (code < 128 ? values[code] : -values[code - 128]));
    CHECK(std::signbit(value) == (code >= 128));
    CHECK(cull::e4m3::encode(value).bits == code);
    CHECK_FALSE(byte.is_nan());
  }
  CHECK(values.back() == static_cast<double>(cull::e4m3::max));
  static_assert(cull::e4m3::encode(1.0f).bits == 0x38 && cull::e4m3{0x7e}.decode() == 448.0f);
}

TEST_CASE("e4m3: nearest code of every sampled float") {
  nearest_by_search const nearest{e4m3_values()};
  std::int64_t wrong = 0;
  for_floats([&](float x) {
    unsigned const wanted = std::isnan(x) ? 127 : nearest(std::fabs(static_cast<double>(x))) + (std::signbit(x) ? 128u : 0u);
    auto const ours = cull::e4m3::encode(x).bits;
    wrong += ours != wanted ? 1 : 0;
#ifdef CULL_TEST_CUDA_CODECS
    wrong += ours != __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3) ? 1 : 0;
#endif
  });
  CHECK(wrong == 0);
}

TEST_CASE("e8m0: all 256 codes") {
  for (unsigned code = 0; code < 255; ++code) {
    auto const scale = cull::e8m0{static_cast<std::uint8_t>(code)};
    CHECK(static_cast<double>(scale.decode()) == std::ldexp(1.0, static_cast<int>(code) - 127));
    CHECK(cull::e8m0::encode(scale.decode()) == scale);
    CHECK(cull::e8m0::encode_floor(scale.decode()) == scale);
    CHECK(cull::e8m0::encode_ceil(-scale.decode()) == scale);
  }
  CHECK(std::isnan(cull::e8m0{255}.decode()));
  static_assert(cull::e8m0::encode(3.0f).bits == 128 && cull::e8m0::encode(6.0f).bits == 130);
}

TEST_CASE("e8m0: down, up and to the nearest power of two of every sampled float") {
  std::int64_t wrong = 0;
  for_floats([&](float x) {
    int floor = 255, ceil = 255, nearest = 255;
    if (!std::isnan(x)) {
      double const a = std::min(std::max(std::fabs(static_cast<double>(x)), 0x1p-127), 0x1p127);
      int exponent = 0;
      double const significand = 2 * std::frexp(a, &exponent);  // [1, 2)
      floor = exponent - 1 + 127;
      ceil = floor + (significand > 1 ? 1 : 0);
      nearest = floor + (significand > 1.5 || (significand == 1.5 && floor % 2 == 1) ? 1 : 0);
    }
    wrong += cull::e8m0::encode_floor(x).bits != floor || cull::e8m0::encode_ceil(x).bits != ceil || cull::e8m0::encode(x).bits != nearest ? 1 : 0;
#ifdef CULL_TEST_CUDA_CODECS
    wrong += cull::e8m0::encode_floor(x).bits != __nv_cvt_float_to_e8m0(x, __NV_SATFINITE, cudaRoundZero) ? 1 : 0;
    wrong += cull::e8m0::encode_ceil(x).bits != __nv_cvt_float_to_e8m0(x, __NV_SATFINITE, cudaRoundPosInf) ? 1 : 0;
#endif
  });
  CHECK(wrong == 0);
}

TEST_CASE("bf16: every pattern decodes to its number and encodes back; every sampled float goes to the nearest") {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    auto const value = cull::bf16{static_cast<std::uint16_t>(bits)};
    float const decoded = value.decode();
    if (std::isnan(decoded)) {
      CHECK(std::isnan(cull::bf16::encode(decoded).decode()));
      continue;
    }
    if (cull::bf16::encode(decoded) != value) FAIL(bits);
    auto const exponent = static_cast<int>((bits >> 7) & 255), mantissa = static_cast<int>(bits & 127);
    double const magnitude = exponent == 255 ? INFINITY : exponent == 0 ? std::ldexp(mantissa, -133) : std::ldexp(128 + mantissa, exponent - 134);
    if (static_cast<double>(decoded) != (bits >> 15 ? -magnitude : magnitude)) FAIL(bits);
  }
  std::int64_t wrong = 0;
  for_floats([&](float x) {
    auto const ours = cull::bf16::encode(x);
    if (std::isnan(x)) {
      wrong += std::isnan(ours.decode()) ? 0 : 1;
      return;
    }
    // Neighbours towards and away from zero; 2^128 stands for infinity.
    auto const down = static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(x) >> 16);
    auto const value = [](std::uint16_t bits) {
      double const v = static_cast<double>(cull::bf16{bits}.decode());
      return std::isinf(v) ? std::copysign(0x1p128, v) : v;
    };
    double const below = std::fabs(static_cast<double>(x) - value(down));
    if (std::isinf(x) || below == 0) {
      wrong += ours.bits != down ? 1 : 0;
      return;
    }
    double const above = std::fabs(value(static_cast<std::uint16_t>(down + 1)) - static_cast<double>(x));
    auto const wanted = below < above || (below == above && down % 2 == 0) ? down : static_cast<std::uint16_t>(down + 1);
    wrong += ours.bits != wanted ? 1 : 0;
  });
  CHECK(wrong == 0);
}
