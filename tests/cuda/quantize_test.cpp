// SPDX-License-Identifier: Apache-2.0
// Quantise on the executor of the tests: the CPU's bytes in both dialects, and the arithmetic that stands for true division.
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include <doctest/doctest.h>
#include <cull/cuda/quantize.hpp>
#include <cull/numeric/e2m1_rounding.hpp>
#include <cull/tensor.hpp>

#include "simt/on_simt.hpp"

using namespace simt_test;

namespace {

#if defined(CULL_SANITIZED)
constexpr std::uint32_t mantissa_step = 127;
#else
constexpr std::uint32_t mantissa_step = 1;
#endif

std::vector<float> weights(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random{seed};
  std::normal_distribution<float> normal{0.0f, 0.02f};
  std::vector<float> out(size);
  for (auto& v : out) v = random() % 37 == 0 ? (random() % 2 == 0 ? 0.0f : -0.0f) : normal(random);
  return out;
}

/// Any exponent, zeros of both signs and subnormals.
std::vector<float> any_numbers(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random{seed};
  std::vector<float> out(size);
  for (std::size_t i = 0; i < size; ++i) {
    auto bits = static_cast<std::uint32_t>(random());
    if (i % 32 < 16) bits = (bits & 0x807fffffu) | static_cast<std::uint32_t>(110 + random() % 24) << 23;  // alike within a block
    out[i] = std::bit_cast<float>((bits & 0x7f800000u) == 0x7f800000u ? bits & 0x807fffffu : bits);
  }
  return out;
}

template <class Dialect>
using buffer = std::conditional_t<std::is_same_v<Dialect, cull::modelopt>, cull::nvfp4_buffer, cull::nvfp4_compressed_buffer>;

template <class Dialect, class T>
void check(std::vector<float> const& floats, std::int64_t rows, std::uint64_t seed, std::optional<float> factor = {}) {
  auto const cols = static_cast<std::int64_t>(floats.size()) / rows;
  std::vector<T> values(floats.size());
  for (std::size_t i = 0; i < floats.size(); ++i) {
    if constexpr (std::is_same_v<T, float>) {
      values[i] = floats[i];
    } else {
      values[i] = T{static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(floats[i]) >> 16)};
    }
  }
  buffer<Dialect> expected;
  cull::quantize(cull::on_cpu{}, Dialect{}, cull::matrix_view<T const>{values.data(), rows, cols}, expected, factor);
  device_array<T> const source{values};
  device_array<std::uint8_t> const codes{expected.codes.size()}, scales{expected.scales.size()};
  device_array<float> const tensor_scale{1};
  race_detector races;
  on_simt const exec{{.seed = seed, .watch = {.races = &races}}};
  cull::nvfp4_target const target{codes.data(), scales.data(), tensor_scale.data()};
  cull::quantize(exec, Dialect{}, source.view(rows, cols), target, factor);
  auto const made = cull::quantized<Dialect>(exec, target, rows, cols);
  auto const bits = [](float v) { return std::bit_cast<std::uint32_t>(v); };
  CHECK(bits(made.parts.tensor_scale) == bits(expected.view().parts.tensor_scale));
  CHECK(codes.host() == expected.codes);
  CHECK(scales.host() == expected.scales);
}

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

TEST_CASE("a divider divides") {
  for (std::uint32_t by = 1; by != 0; by = by < 3000 ? by + 1 : by * 2 - (by % 5 < 2 ? 1 : 0)) {
    if (by > 0x7fffffffu) break;
    cull::simt::divider const d{by};
    for (std::uint32_t q = 0; q <= 0x7fffffffu / by; q += q < 40 ? 1 : 1 + (0x7fffffffu / by) / 50) {
      if (d.quotient(q * by) != q || (q > 0 && d.quotient(q * by - 1) != q - 1)) FAIL(q, " * ", by);
    }
    CHECK(d.quotient(0x7fffffffu) == 0x7fffffffu / by);
  }
}

TEST_CASE_TEMPLATE("quantize on the device: the bytes of the CPU", Dialect, cull::modelopt, cull::compressed_tensors) {
  for (std::uint64_t const seed : {1u, 2u, 3u}) {
    for (auto const& [rows, cols] : {std::pair{1, 16}, std::pair{5, 496}, std::pair{3, 512}, std::pair{4, 1040}}) {
      auto const size = static_cast<std::size_t>(rows * cols);
      check<Dialect, float>(weights(size, seed), rows, seed);
      check<Dialect, cull::bf16>(weights(size, seed), rows, seed);
      check<Dialect, float>(any_numbers(size, seed), rows, seed);
    }
    check<Dialect, cull::bf16>(any_numbers(1024, seed), 2, seed);
    // Scales of the tensor that block_quotient serves, barely serves, and does not.
    for (float const factor : {0.0001f, 0x1p-12f, 0x1p-40f, 0x1p+40f, 0x1p-100f, 0x1p-120f, 0x1p-149f, 0x1p+98f, 0x1p+127f}) {
      check<Dialect, float>(any_numbers(512, seed), 1, seed, factor);
      check<Dialect, float>(weights(512, seed), 1, seed, factor);
    }
    // Greatest magnitudes whose sixth is no normal number, beside others.
    auto tiny = any_numbers(1024, seed);
    for (std::size_t i = 0; i < tiny.size(); ++i)
      tiny[i] = i / 16 % 3 == 0 ? 0.0f : tiny[i] * (i / 16 % 3 == 1 ? 0x1p-110f : 1.0f);
    check<Dialect, float>(tiny, 2, seed, 0x1p+60f);
    check<Dialect, float>(std::vector<float>(64, 0.0f), 2, seed);
  }
  if constexpr (std::is_same_v<Dialect, cull::modelopt>) check<Dialect, float>(weights(64, 4), 2, 4, 0.0f);
}

TEST_CASE("quantize on the device: a source that is not finite is reported") {
  for (float const bad : {INFINITY, -INFINITY, NAN}) {
    auto values = weights(64, 5);
    values[37] = bad;
    device_array<float> const source{values}, tensor_scale{1};
    device_array<std::uint8_t> const codes{32}, scales{4};
    cull::nvfp4_target const target{codes.data(), scales.data(), tensor_scale.data()};
    cull::quantize(on_simt{}, cull::modelopt{}, source.view(4, 16), target);
    CHECK_THROWS_WITH_AS(cull::quantized(on_simt{}, target, 4, 16), "quantize: NaN or infinity in the source", cull::error);
  }
}
