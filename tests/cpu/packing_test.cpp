// SPDX-License-Identifier: Apache-2.0
// Kernels that unpack and pack 4-bit rows: values by the formats' definitions, bytes by the scalar blocks that modelopt's and
// compressed-tensors' own bytes are compared with elsewhere.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include <cull/cpu.hpp>
#include <cull/tensor.hpp>

#include "support/levels.hpp"

namespace {

using cull::bf16;
using cull::matrix_view;

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float code_values[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -0.5f, -1, -1.5f, -2, -3, -4, -6};

float e4m3_by_definition(std::uint8_t byte) {
  int const exponent = byte >> 3 & 15, mantissa = byte & 7;
  float const sign = byte & 0x80 ? -1.0f : 1.0f;
  if ((byte & 0x7f) == 0x7f) return std::numeric_limits<float>::quiet_NaN();
  return sign * (exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                               : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10));
}

/// Every scale byte and every code, in an order that differs from row to row.
struct packed_bytes {
  packed_bytes(std::int64_t rows, std::int64_t cols, std::int64_t block)
      : codes(static_cast<std::size_t>(rows * cols / 2)), scales(static_cast<std::size_t>(rows * cols / block)) {
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>(i * 37 + i / 256);
    for (std::size_t i = 0; i < scales.size(); ++i) scales[i] = static_cast<std::uint8_t>(i * 89 + i / 256 * 3);
  }
  unsigned code(std::int64_t i) const { return codes[static_cast<std::size_t>(i / 2)] >> (i % 2 * 4) & 15u; }

  std::vector<std::uint8_t> codes, scales;
};

bool same(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}
bool same(bf16 a, float b) { return std::isnan(b) ? std::isnan(a.decode()) : a == bf16::encode(b); }

/// Values of `m` that differ from `wanted(row, column)`.
template <class T, class F, class Wanted>
std::int64_t different(cull::matrix<F> const& m, std::int64_t spare, Wanted wanted) {
  cull::detail::aligned_buffer<T> out{m.rows * (m.cols + spare)};
  matrix_view<T> const target{out.data(), m.rows, m.cols, m.cols + spare};
  cull::dequantize(test_support::cpu(2), m, target);
  std::int64_t wrong = 0;
  for (std::int64_t r = 0; r < m.rows; ++r) {
    for (std::int64_t c = 0; c < m.cols; ++c) wrong += same(target(r, c), wanted(r, c)) ? 0 : 1;
  }
  return wrong;
}

struct shape {
  std::int64_t rows, cols, spare;
};
// The last is past the caches as f32 and as bf16.
constexpr shape shapes[] = {{64, 64, 0}, {17, 272, 3}, {5, 1040, 0}, {260, 1056, 0}, {2100, 1024, 0}};

template <class T>
void check_nvfp4(shape s) {
  packed_bytes const bytes{s.rows, s.cols, 16};
  auto const scale = [&](std::int64_t r, std::int64_t c) {
    return e4m3_by_definition(bytes.scales[static_cast<std::size_t>((r * s.cols + c) / 16)]);
  };
  auto const code = [&](std::int64_t r, std::int64_t c) { return code_values[bytes.code(r * s.cols + c)]; };
  for (float const outer : {1.0f, 0.0137f, 1e-42f, 3e38f}) {
    cull::matrix<cull::nvfp4_modelopt> const m{{bytes.codes.data(), bytes.scales.data(), outer, s.cols}, s.rows, s.cols};
    CHECK(different<T>(m, s.spare, [&](std::int64_t r, std::int64_t c) { return code(r, c) * (scale(r, c) * outer); }) == 0);
    if (s.rows > 1000) return;
  }
  cull::matrix<cull::nvfp4_compressed> const divided{{bytes.codes.data(), bytes.scales.data(), 731.0f, s.cols}, s.rows, s.cols};
  CHECK(different<T>(divided, s.spare, [&](std::int64_t r, std::int64_t c) { return code(r, c) * (scale(r, c) / 731.0f); }) == 0);
  auto const half = s.rows / 2;
  cull::matrix<cull::nvfp4_modelopt> const every_second{{bytes.codes.data(), bytes.scales.data(), 0.3f, s.cols, 2}, half, s.cols};
  CHECK(different<T>(every_second, s.spare,
                     [&](std::int64_t r, std::int64_t c) { return code(2 * r, c) * (scale(2 * r, c) * 0.3f); }) == 0);
  std::vector<std::uint8_t> tiled(static_cast<std::size_t>(cull::tiled_128x4::size(s.rows, s.cols / 16)));
  cull::relayout<cull::linear, cull::tiled_128x4>(bytes.scales, tiled, s.rows, s.cols / 16);
  cull::matrix<cull::nvfp4<cull::modelopt, cull::tiled_128x4>> const in_tiles{
      {bytes.codes.data(), tiled.data(), 0.7f, s.cols}, s.rows, s.cols};
  CHECK(different<T>(in_tiles, s.spare, [&](std::int64_t r, std::int64_t c) { return code(r, c) * (scale(r, c) * 0.7f); }) == 0);
}

template <class T>
void check_mxfp4(shape s) {
  if (s.cols % 32 != 0) return;
  packed_bytes const bytes{s.rows, s.cols, 32};
  cull::matrix<cull::mxfp4> const m{{bytes.codes.data(), bytes.scales.data(), s.cols}, s.rows, s.cols};
  CHECK(different<T>(m, s.spare, [&](std::int64_t r, std::int64_t c) {
          auto const scale = bytes.scales[static_cast<std::size_t>((r * s.cols + c) / 32)];
          if (scale == 255) return std::numeric_limits<float>::quiet_NaN();
          return static_cast<float>(std::ldexp(static_cast<double>(code_values[bytes.code(r * s.cols + c)]), scale - 127));
        }) == 0);
}

template <class T>
matrix_view<T const> rows_of(std::vector<T> const& values, std::int64_t cols) {
  return {values.data(), static_cast<std::int64_t>(values.size()) / cols, cols};
}

/// Codes and scales of this level are those of the scalar blocks.
template <class T>
void check_packed(std::vector<T> const& values, std::int64_t cols, float scale) {
  auto const as_float = [&](std::size_t i) {
    if constexpr (std::is_same_v<T, float>)
      return values[i];
    else
      return values[i].decode();
  };
  cull::nvfp4_buffer multiplied;
  cull::nvfp4_compressed_buffer divided;
  cull::quantize(test_support::cpu(2), cull::modelopt{}, rows_of(values, cols), multiplied, scale);
  bool const divisor = scale > 0.0f;
  if (divisor) cull::quantize(test_support::cpu(2), cull::compressed_tensors{}, rows_of(values, cols), divided, scale);
  std::int64_t wrong = 0;
  for (std::size_t block = 0; block < values.size() / 16; ++block) {
    float in[16];
    for (std::size_t i = 0; i < 16; ++i) in[i] = as_float(16 * block + i);
    std::uint8_t codes[8];
    auto const s = cull::quantize_block_modelopt(in, scale, codes);
    wrong += s.bits == multiplied.scales[block] && std::equal(codes, codes + 8, multiplied.codes.data() + 8 * block) ? 0 : 1;
    if (!divisor) continue;
    auto const d = cull::quantize_block_compressed(in, scale, codes);
    wrong += d.bits == divided.scales[block] && std::equal(codes, codes + 8, divided.codes.data() + 8 * block) ? 0 : 1;
  }
  CAPTURE(scale);
  CAPTURE(cols);
  CHECK(wrong == 0);
}

std::vector<float> values_of_all_kinds(std::size_t count) {
  std::mt19937 random{7};
  std::normal_distribution<float> normal;
  std::vector<float> out(count);
  for (std::size_t i = 0; i < count; ++i) {
    float const x = normal(random);
    switch (i / 64 % 8) {
      case 0:
        out[i] = x * 0.02f;
        break;
      case 1:
        out[i] = std::nearbyint(x * 16) / 64;
        break;  // many ties
      case 2:
        out[i] = i % 3 == 0 ? -0.0f : (i % 3 == 1 ? 0.0f : x);
        break;
      case 3:
        out[i] = std::ldexp(x, static_cast<int>(random() % 60) - 40);
        break;
      case 4:
        out[i] = 0.0f;
        break;
      case 5:
        out[i] = std::bit_cast<float>(static_cast<std::uint32_t>(random() % 100 | (random() & 0x80000000u)));
        break;  // subnormal
      case 6:
        out[i] = i % 16 == 5 ? x * 30 : x * 1e-3f;
        break;
      default:
        out[i] = std::ldexp(static_cast<float>(static_cast<int>(random() % 97) - 48), -3);
        break;  // on and between ties
    }
  }
  return out;
}

bool refused(cull::matrix_view<float const> values) {
  cull::nvfp4_buffer out;
  int count = 0;
  for (bool const given : {false, true}) {
    try {
      if (given) {
        cull::quantize(test_support::cpu(), cull::modelopt{}, values, out, 0.01f);
      } else {
        cull::quantize(test_support::cpu(), cull::modelopt{}, values, out);
      }
    } catch (cull::error const& e) {
      count += e.code() == cull::errc::not_finite && std::string{e.what()}.find("row 1") != std::string::npos ? 1 : 0;
    }
  }
  return count == 2;
}

}  // namespace

TEST_CASE(
    "unpacking: every scale byte and code of NVFP4 and MXFP4, dialect, layout and step, to f32 and bf16, cached and streamed") {
  test_support::at_every_level([] {
    for (auto const s : shapes) {
      check_nvfp4<float>(s);
      check_nvfp4<bf16>(s);
      check_mxfp4<float>(s);
      check_mxfp4<bf16>(s);
    }
  });
}

TEST_CASE(
    "packing: the scalar blocks' bytes for values of all kinds, whole and broken groups of blocks, tensor scales in and out of "
    "range") {
  auto const values = values_of_all_kinds(16 * 2 * 3 * 5 * 7 * 13);
  std::vector<bf16> rounded;
  for (float const v : values) rounded.push_back(bf16::encode(v));
  test_support::at_every_level([&] {
    for (std::int64_t const blocks : {1, 7, 15, 30, 105, 182}) {
      check_packed(values, 16 * blocks, 0.0049f);
      check_packed(rounded, 16 * blocks, 0.0049f);
    }
    for (float const scale : {1.0f, 1.0f / 64, 3.7f, 900.0f, 1e-6f, 1e-20f, 1e-31f, 1e-44f, 1e30f, 1e35f, 0.0f})
      check_packed(values, 16 * 91, scale);
  });
}

TEST_CASE("packing: codes past the caches, of rows that end within a group, and of rows out of range that are done again") {
  constexpr std::int64_t cols = 8192 + 16 * 30, rows = 970;  // 4 MiB of codes; 16 and 24 blocks behind the last whole group of 32
  auto const some = values_of_all_kinds(std::size_t{1} << 16);
  std::vector<float> values(static_cast<std::size_t>(cols * rows));
  for (std::size_t i = 0; i < values.size(); ++i) {
    bool const any = i / static_cast<std::size_t>(cols) % 7 == 3;
    auto const x = some[i % some.size()];
    values[i] = any ? x * 4.0f : std::clamp(x, -2.5f, 2.5f);
  }
  test_support::at_every_level([&] {
    for (float const scale : {0.0049f, 0.5f}) check_packed(values, cols, scale);
  });
}

TEST_CASE("packing: divisors whose reciprocal does not serve, alone and among others") {
  // Scales of blocks are powers of two or 1.5 times them, so that divisors have the tensor scale's mantissa: all ones, and
  // others.
  auto const values = values_of_all_kinds(16 * 64 * 6);
  auto few = values;
  for (std::size_t i = 0; i < few.size(); ++i) few[i] = i % 1024 < 16 ? std::ldexp(few[i], 20) : few[i];
  test_support::at_every_level([&] {
    for (float const scale : {std::bit_cast<float>(0x3bffffffu), std::bit_cast<float>(0x3f7fffffu), 0x1p-99f, 0x1p99f}) {
      check_packed(values, 1024, scale);
      check_packed(few, 1024, scale);
    }
    for (float const scale : {0.004f, 0.3f}) check_packed(few, 1024, scale);
  });
}

TEST_CASE("packing: every finite bf16 beside a fixed largest value") {
  std::vector<bf16> values;
  for (unsigned bits = 0; bits < 0x10000u; ++bits) {
    bf16 const v{static_cast<std::uint16_t>(bits)};
    bool const in_range = std::isfinite(v.decode()) && std::fabs(v.decode()) <= 6.0f;
    values.push_back(in_range ? v : bf16::encode(0.0f));
    if (values.size() % 16 == 15) values.push_back(bf16::encode(6.0f));
  }
  values.resize(values.size() / 1024 * 1024);
  test_support::at_every_level([&] {
    for (float const scale : {1.0f, 1.0f / 448, 0.01f, 0.3f}) check_packed(values, 1024, scale);
  });
}

TEST_CASE("packing: values on, beside and a little off every border between codes") {
  // A kernel may tell codes by less than the whole quotient; from here to 2^-18 of a border it has to notice that it may not.
  constexpr float borders[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};
  std::mt19937 random{11};
  for (float const scale : {0.0049f, 1.0f / 448, 0.0937f}) {
    std::vector<float> values;
    while (values.size() < 16 * 64 * 40) {
      float const divisor = e4m3_by_definition(static_cast<std::uint8_t>(8 + random() % 118)) * scale;
      auto const bits = std::bit_cast<std::uint32_t>(divisor * borders[random() % 7]);
      auto const off = static_cast<std::uint32_t>(random() % 9 < 5 ? random() % 9 - 4 : (random() % 257) - 128);
      values.push_back(std::bit_cast<float>(bits + off) * (random() % 2 == 0 ? 1.0f : -1.0f));
      // Whole blocks of one divisor, whose largest value is six times it, among values of other kinds.
      for (int i = 1; i < 15; ++i) {
        auto const near =
            std::bit_cast<std::uint32_t>(divisor * borders[random() % 7]) + static_cast<std::uint32_t>(random() % 65) - 32;
        values.push_back(i < 13 ? divisor * 0.4f : std::bit_cast<float>(near));
      }
      values.push_back(6.0f * divisor);
    }
    values.resize(values.size() / 1024 * 1024);
    test_support::at_every_level([&] {
      check_packed(values, 1024, scale);
      check_packed(values, 1024, 1.0f / scale);
    });
  }
}

TEST_CASE("packing: NaN and infinity are refused wherever they stand, with and without a given scale") {
  test_support::at_every_level([] {
    std::vector<float> values(3 * 336, 0.25f);
    for (std::size_t const at : {0u, 1u, 15u, 16u, 200u, 255u, 256u, 319u, 320u, 335u}) {
      for (float const bad :
           {infinity, -infinity, std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::quiet_NaN()}) {
        values[336 + at] = bad;
        CHECK(refused(rows_of(values, 336)));
      }
      values[336 + at] = 0.25f;
    }
  });
}
