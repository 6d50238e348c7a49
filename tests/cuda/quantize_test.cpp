// SPDX-License-Identifier: Apache-2.0
// Quantise on the executor of the tests: the CPU's bytes in both dialects; the arithmetic that stands for true division has
// tests/numeric.
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include <doctest/doctest.h>
#include <cull/cuda/quantize.hpp>
#include <cull/tensor.hpp>

#include "simt/on_simt.hpp"

using namespace simt_test;

namespace {

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

}  // namespace

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
