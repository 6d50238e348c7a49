// SPDX-License-Identifier: Apache-2.0
// Values of MXFP4, FP8 and plain storage over their whole domain, and matrices that are slices of fused tensors: experts, gate
// and up after another or interleaved, transposed.
#include <doctest/doctest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include <cull/tensor.hpp>

namespace storage_tests {

namespace {

using cull::matrix;
using cull::matrix_view;
using bytes = std::vector<std::uint8_t>;

double code_value(unsigned code) {
  double const magnitudes[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  return code >= 8 ? -magnitudes[code - 8] : magnitudes[code];
}

double e4m3_value(unsigned byte) {
  unsigned const m = byte & 0x7f;
  if (m == 0x7f) return NAN;
  double const magnitude = m < 8 ? std::ldexp(m, -9) : std::ldexp(8 + m % 8, static_cast<int>(m / 8) - 10);
  return byte >= 0x80 ? -magnitude : magnitude;
}

bytes noise(std::int64_t count, unsigned seed) {
  std::mt19937 random{seed};
  bytes out(static_cast<std::size_t>(count));
  for (auto& byte : out) byte = static_cast<std::uint8_t>(random() % 0x7e);
  return out;
}

std::vector<float> numbers(std::int64_t count, unsigned seed) {
  std::mt19937 random{seed};
  std::vector<float> out(static_cast<std::size_t>(count));
  for (auto& value : out) value = std::ldexp(static_cast<float>(random() % 0x1000000), -30);
  return out;
}

template <class F>
std::vector<float> dequantized(matrix<F> const& m) {
  std::vector<float> out(static_cast<std::size_t>(m.rows * m.cols));
  cull::dequantize(cull::on_cpu{}, m, matrix_view<float>{out.data(), m.rows, m.cols});
  return out;
}

/// `value(row, column)` for every element of a matrix.
template <class F, class Value>
void check_values(matrix<F> const& m, Value value) {
  auto const out = dequantized(m);
  std::int64_t wrong = 0;
  for (std::int64_t row = 0; row < m.rows; ++row) {
    for (std::int64_t col = 0; col < m.cols; ++col) {
      float const got = out[static_cast<std::size_t>(row * m.cols + col)], wanted = value(row, col);
      wrong += !(got == wanted || (std::isnan(got) && std::isnan(wanted)));
    }
  }
  CHECK(wrong == 0);
}

/// A fused tensor of three experts with 12 rows each: where row r of expert e's gate or up lies.
struct fused {
  std::int64_t first;
  std::int64_t step;
};
constexpr fused places[] = {{0, 1}, {12, 1}, {18, 1}, {24, 2}, {25, 2}};

}  // namespace

TEST_CASE("mxfp4: every scale byte times every code by the formula") {
  bytes codes, scales;
  for (unsigned scale = 0; scale < 256; ++scale) {
    scales.push_back(static_cast<std::uint8_t>(scale));
    for (unsigned i = 0; i < 16; ++i) codes.push_back(static_cast<std::uint8_t>(i | ((15 - i) << 4)));
  }
  matrix<cull::mxfp4> const m{{codes.data(), scales.data(), 32}, 256, 32};
  CHECK(cull::mxfp4::outer_scale(m.parts) == 1.0f);
  int infinite = 0;
  check_values(m, [&](std::int64_t row, std::int64_t col) {
    auto const code = static_cast<unsigned>(col % 2 == 0 ? col / 2 : 15 - col / 2);
    if (row == 255) return std::numeric_limits<float>::quiet_NaN();
    double const value = std::ldexp(code_value(code), static_cast<int>(row) - 127);
    bool const overflow = std::fabs(value) >= 0x1p128;
    infinite += overflow;
    return overflow ? std::copysign(std::numeric_limits<float>::infinity(), static_cast<float>(code_value(code)))
                    : static_cast<float>(value);
  });
  CHECK(infinite == 2 * (4 + 8));
}

TEST_CASE("fp8_tensor: every code by the formula, the scale outside; transposed storage") {
  bytes codes(256);
  for (unsigned i = 0; i < 256; ++i) codes[i] = static_cast<std::uint8_t>(i);
  matrix<cull::fp8_tensor> const m{{codes.data(), 16, 0.3f}, 16, 16};
  CHECK(cull::fp8_tensor::outer_scale(m.parts) == 0.3f);
  check_values(m, [](auto row, auto col) {
    return static_cast<float>(e4m3_value(static_cast<unsigned>(row * 16 + col)) * static_cast<double>(0.3f));
  });
  check_values(matrix<cull::fp8_tensor>{{codes.data(), 1, 0.3f, 32}, 32, 8}, [](auto row, auto col) {
    return static_cast<float>(e4m3_value(static_cast<unsigned>(col * 32 + row)) * static_cast<double>(0.3f));
  });
}

TEST_CASE("fp8_block: every code times scales of any size, one rounding; edges of squares; unaligned scales") {
  for (std::int64_t const rows : {1, 128, 129, 300}) {
    for (std::int64_t const cols : {8, 32, 64, 128, 136, 264}) {
      auto const codes = noise(rows * cols, 11);
      std::int64_t const across = (cols + 127) / 128, down = (rows + 127) / 128;
      auto const scales = numbers(across * down, 12);
      bytes unaligned(1 + 4 * scales.size());
      std::memcpy(unaligned.data() + 1, scales.data(), 4 * scales.size());
      matrix<cull::fp8_block<>> const m{{codes.data(), unaligned.data() + 1, cols, across}, rows, cols};
      check_values(m, [&](auto row, auto col) {
        double const scale = scales[static_cast<std::size_t>(row / 128 * across + col / 128)];
        return static_cast<float>(e4m3_value(codes[static_cast<std::size_t>(row * cols + col)]) * scale);
      });
    }
  }
  bytes all(256);
  for (unsigned i = 0; i < 256; ++i) all[i] = static_cast<std::uint8_t>(i);
  for (float const scale : {1.0f, 0.1f, 1e-38f, 3e-45f, 1e36f}) {
    check_values(matrix<cull::fp8_block<>>{{all.data(), &scale, 256, 0, 1, 0}, 1, 256}, [&](auto, auto col) {
      return static_cast<float>(e4m3_value(static_cast<unsigned>(col)) * static_cast<double>(scale));
    });
  }
}

TEST_CASE("fp8_block: gate and up after another or interleaved, with squares across them; transposed; a scale per row") {
  auto const codes = noise(300 * 264, 13);
  auto const scales = numbers(3 * 3, 14);
  for (auto const& place : {fused{0, 1}, fused{100, 1}, fused{0, 2}, fused{1, 2}, fused{131, 1}}) {
    cull::fp8_block<>::parts parts{codes.data(), scales.data(), 264, 3};
    parts.first_row = place.first;
    parts.row_step = place.step;
    check_values(matrix<cull::fp8_block<>>{parts, 150, 264}, [&](auto row, auto col) {
      auto const stored = place.first + row * place.step;
      double const scale = scales[static_cast<std::size_t>(stored / 128 * 3 + col / 128)];
      return static_cast<float>(e4m3_value(codes[static_cast<std::size_t>(stored * 264 + col)]) * scale);
    });
  }
  check_values(matrix<cull::fp8_block<>>{{codes.data(), scales.data(), 1, 1, 300, 3}, 300, 264}, [&](auto row, auto col) {
    double const scale = scales[static_cast<std::size_t>(col / 128 * 3 + row / 128)];
    return static_cast<float>(e4m3_value(codes[static_cast<std::size_t>(col * 300 + row)]) * scale);
  });
  check_values(matrix<cull::fp8_block<1>>{{codes.data(), scales.data(), 264, 1, 1, 0}, 9, 264}, [&](auto row, auto col) {
    double const scale = scales[static_cast<std::size_t>(row)];
    return static_cast<float>(e4m3_value(codes[static_cast<std::size_t>(row * 264 + col)]) * scale);
  });
}

TEST_CASE("nvfp4 and mxfp4: experts of a fused tensor, gate and up after another or interleaved") {
  std::int64_t const cols = 96;
  auto const codes = noise(36 * cols / 2, 15), scales = noise(36 * cols / 16, 16);
  auto const code = [&](std::int64_t row, std::int64_t col) {
    return code_value(codes[static_cast<std::size_t>(row * cols / 2 + col / 2)] >> (col % 2 * 4) & 15u);
  };
  for (auto const& [first, step] : places) {
    auto const stored = [&, f = first, s = step](std::int64_t row) { return f + row * s; };
    auto const* const c = codes.data() + first * cols / 2;
    check_values(matrix<cull::nvfp4_modelopt>{{c, scales.data() + first * cols / 16, 1.0f, cols, step}, 6, cols},
                 [&](auto row, auto col) {
                   auto const scale = scales[static_cast<std::size_t>(stored(row) * cols / 16 + col / 16)];
                   return static_cast<float>(code(stored(row), col) * e4m3_value(scale));
                 });
    check_values(matrix<cull::mxfp4>{{c, scales.data() + first * cols / 32, cols, step}, 6, cols}, [&](auto row, auto col) {
      auto const scale = scales[static_cast<std::size_t>(stored(row) * cols / 32 + col / 32)];
      return static_cast<float>(std::ldexp(code(stored(row), col), scale - 127));
    });
  }
}

TEST_CASE("nvfp4 with tiled scales: interleaved rows, and an expert that begins at a tile") {
  using tiled = cull::nvfp4<cull::modelopt, cull::tiled_128x4>;
  std::int64_t const cols = 96, blocks = 6, rows = 2 * 256;
  auto const codes = noise(rows * cols / 2, 17), scales = noise(rows * blocks, 18);
  bytes swizzled(static_cast<std::size_t>(cull::tiled_128x4::size(rows, blocks)));
  cull::relayout<cull::linear, cull::tiled_128x4>(scales, swizzled, rows, blocks);
  for (auto const& [first, step] : {fused{0, 1}, fused{0, 2}, fused{1, 2}, fused{256, 1}, fused{257, 2}, fused{3, 4}}) {
    std::int64_t const count = (rows - first) / step / 2;
    auto const* const c = codes.data() + first * cols / 2;
    auto const* const s = swizzled.data() + cull::tiled_128x4::offset(first, 0, blocks);
    auto const linear =
        dequantized(matrix<cull::nvfp4_modelopt>{{c, scales.data() + first * blocks, 0.5f, cols, step}, count, cols});
    CHECK(dequantized(matrix<tiled>{{c, s, 0.5f, cols, step}, count, cols}) == linear);
  }
}

TEST_CASE("plain storage: every f16 and bf16, and f32, row-major, interleaved, transposed, at an odd address") {
  bytes memory(1 + 2 * 65536);
  for (unsigned code = 0; code < 65536; ++code) {
    memory[1 + 2 * code] = static_cast<std::uint8_t>(code);
    memory[2 + 2 * code] = static_cast<std::uint8_t>(code >> 8);
  }
  auto const half = [](std::int64_t index) { return cull::f16{static_cast<std::uint16_t>(index)}.decode(); };
  auto const brain = [](std::int64_t index) { return cull::bf16{static_cast<std::uint16_t>(index)}.decode(); };
  void const* const data = memory.data() + 1;
  check_values(matrix<cull::f16_format>{{data, 256}, 256, 256}, [&](auto r, auto c) { return half(r * 256 + c); });
  check_values(matrix<cull::f16_format>{{data, 512}, 128, 256}, [&](auto r, auto c) { return half(r * 512 + c); });
  check_values(matrix<cull::f16_format>{{data, 1, 128}, 128, 512}, [&](auto r, auto c) { return half(c * 128 + r); });
  check_values(matrix<cull::f16_format>{{data, 2, 128}, 64, 512}, [&](auto r, auto c) { return half(c * 128 + 2 * r); });
  check_values(matrix<cull::bf16_format>{{data, 2, 128}, 64, 512}, [&](auto r, auto c) { return brain(c * 128 + 2 * r); });
  check_values(matrix<cull::bf16_format>{{memory.data() + 3, 2, 128}, 64, 511},
               [&](auto r, auto c) { return brain(c * 128 + 2 * r + 1); });
  auto const values = numbers(24 * 17, 19);
  check_values(matrix<cull::f32_format>{{values.data() + 1, 2, 24}, 12, 17},
               [&](auto r, auto c) { return values[static_cast<std::size_t>(c * 24 + 2 * r + 1)]; });
  CHECK(cull::f16_format::outer_scale({}) == 1.0f);
}

}  // namespace storage_tests
