// SPDX-License-Identifier: Apache-2.0
// dequantize by closed formulas and by what it promises; modelopt's own numbers are in nvfp4_test.cpp.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <random>
#include <vector>

#include <cull/tensor.hpp>

namespace {

using cull::bf16;
using cull::errc;
using cull::matrix;
using cull::matrix_view;
using cull::nvfp4_modelopt;
using cull::on_cpu;

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }

float code_value(unsigned code) {
  float const magnitudes[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  return code >= 8 ? -magnitudes[code - 8] : magnitudes[code];
}

float scale_value(unsigned byte) {
  int const exponent = static_cast<int>(byte >> 3);
  float const mantissa = static_cast<float>(byte & 7);
  return exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
}

/// Row s: scale byte s, all sixteen codes in order; 127 rows of every finite scale that is not negative.
struct every_pair {
  every_pair() {
    for (unsigned byte = 0; byte < 0x7f; ++byte) {
      scales.push_back(static_cast<std::uint8_t>(byte));
      for (unsigned code = 0; code < 16; code += 2) codes.push_back(static_cast<std::uint8_t>(code * 17 + 16));
    }
  }
  matrix<nvfp4_modelopt> with(float tensor_scale) const {
    return {{codes.data(), scales.data(), tensor_scale, 16}, 127, 16};
  }

  std::vector<std::uint8_t> codes, scales;
};

template <class T, class F>
std::vector<T> dequantized(matrix<F> const& m, int threads = 1) {
  std::vector<T> out(static_cast<std::size_t>(m.rows * m.cols));
  cull::dequantize(on_cpu{threads}, m, matrix_view<T>{out.data(), m.rows, m.cols});
  return out;
}

template <class F>
std::optional<errc> refused(matrix<F> const& m, std::int64_t rows, std::int64_t cols) {
  std::vector<float> out(static_cast<std::size_t>(rows * cols));
  try {
    cull::dequantize(on_cpu{}, m, matrix_view<float>{out.data(), rows, cols});
  } catch (cull::error const& e) {
    return e.code();
  }
  return {};
}

/// A format without a dequantisation of its own: small integers times a factor for the whole matrix.
struct counted {
  struct parts {
    float factor;
  };
  static constexpr std::int64_t group = 4;
  static void decode_group(parts const&, std::int64_t row, std::int64_t g, float* out) noexcept {
    for (int i = 0; i < 4; ++i) out[i] = static_cast<float>(row * 100 + g * 4 + i);
  }
  static float outer_scale(parts const& p) noexcept { return p.factor; }
};

}  // namespace

TEST_CASE("dequantize: every code times (scale times tensor scale), in that order") {
  every_pair const pairs;
  for (float const tensor_scale : {1.0f, std::bit_cast<float>(0x378c30c3u), 0.3f, 1e-38f, 3e-42f, 1e30f}) {
    auto const out = dequantized<float>(pairs.with(tensor_scale));
    std::int64_t wrong = 0;
    for (unsigned i = 0; i < out.size(); ++i) {
      float const factor = scale_value(i / 16) * tensor_scale;
      wrong += bits(out[i]) != bits(code_value(i % 16) * factor);
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("dequantize: the other order of multiplication would show") {
  every_pair const pairs;
  float const tensor_scale = std::bit_cast<float>(0x378c30c3u);
  auto const out = dequantized<float>(pairs.with(tensor_scale));
  CHECK(bits(out[9 * 16 + 3]) == 0x34ec9248u);
  int different = 0;
  for (unsigned i = 16; i < out.size(); ++i) {
    if (i % 16 < 8) different += out[i] != code_value(i % 16) * scale_value(i / 16) * tensor_scale;
  }
  CHECK(different == 45);
}

TEST_CASE("dequantize: published bits of two blocks") {
  std::vector<std::uint8_t> const codes{0x9f, 0xe6, 0x72, 0x4c, 0xaf, 0xe6, 0x60, 0x3d,
                                        0xc7, 0xf5, 0x69, 0x1e, 0xd6, 0xf3, 0x5b, 0x9e};
  std::vector<std::uint8_t> const scales{0x7e, 0x67};
  matrix<nvfp4_modelopt> const m{{codes.data(), scales.data(), std::bit_cast<float>(0x378c30c3u), 32}, 1, 32};
  auto const out = dequantized<float>(m);
  std::uint32_t const first[] = {0xbd380000, 0xbb755555, 0x3cf55555, 0xbcf55555};
  std::uint32_t const second[] = {0x3bc52492, 0xbb036db7, 0x3b452492, 0xbbc52492};
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(bits(out[i]) == first[i]);
    CHECK(bits(out[16 + i]) == second[i]);
  }
}

TEST_CASE("dequantize: a scale of zero makes the block zero whatever its codes") {
  std::vector<std::uint8_t> const codes(8, 0x7f), scales{0x00};
  for (float const value : dequantized<float>(matrix<nvfp4_modelopt>{{codes.data(), scales.data(), 0.5f, 16}, 1, 16})) {
    CHECK(value == 0);
  }
}

TEST_CASE("dequantize: bf16 is the f32 value rounded once") {
  every_pair const pairs;
  for (float const tensor_scale : {0.3f, std::bit_cast<float>(0x378c30c3u), 1e-38f}) {
    auto const wide = dequantized<float>(pairs.with(tensor_scale));
    auto const narrow = dequantized<bf16>(pairs.with(tensor_scale));
    std::int64_t wrong = 0;
    for (std::size_t i = 0; i < wide.size(); ++i) {
      std::uint32_t const low = bits(wide[i]) & 0xffff, high = bits(wide[i]) >> 16;
      wrong += narrow[i].bits != high + (low > 0x8000 || (low == 0x8000 && high % 2 == 1));
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("dequantize: a format without its own way gets decoded value times outer scale") {
  auto const out = dequantized<float>(matrix<counted>{{0.1f}, 3, 8});
  for (std::size_t i = 0; i < 24; ++i) CHECK(out[i] == static_cast<float>(i / 8 * 100 + i % 8) * 0.1f);
}

TEST_CASE("dequantize: plain formats give their values, strided, at any alignment") {
  std::vector<unsigned char> memory(1 + 4 * 5 * 7);
  float const values[] = {1.0f, -0.0f, 0x1p-149f, 3.3895314e38f, -2.5f};
  for (std::size_t row = 0; row < 5; ++row) {
    for (std::size_t col = 0; col < 5; ++col) {
      std::memcpy(&memory[1 + 4 * (row * 7 + col)], &values[(row + col) % 5], 4);
    }
  }
  auto const wide = dequantized<float>(matrix<cull::f32_format>{{memory.data() + 1, 7}, 5, 5});
  for (std::size_t i = 0; i < 25; ++i) CHECK(bits(wide[i]) == bits(values[(i / 5 + i % 5) % 5]));
  // The same bytes as bf16, rows 14 apart: the halves of the floats.
  auto const halves = dequantized<bf16>(matrix<cull::bf16_format>{{memory.data() + 1, 14}, 5, 10});
  for (std::size_t i = 0; i < 50; ++i) {
    auto const word = bits(values[(i / 10 + i % 10 / 2) % 5]);
    CHECK(halves[i].bits == (i % 2 == 0 ? word & 0xffff : word >> 16));
  }
}

TEST_CASE("dequantize: writes the target's rows and nothing between them") {
  std::vector<float> memory(3 * 11, -7.0f);
  cull::dequantize(on_cpu{}, matrix<counted>{{1.0f}, 3, 8}, matrix_view<float>{memory.data() + 1, 3, 8, 11});
  for (std::size_t i = 0; i < memory.size(); ++i) {
    bool const inside = i % 11 >= 1 && i % 11 < 9;
    CHECK(memory[i] == (inside ? static_cast<float>(i / 11 * 100 + i % 11 - 1) : -7.0f));
  }
}

TEST_CASE("dequantize: bytes do not depend on threads") {
  std::mt19937 random{1};
  std::vector<std::uint8_t> codes(97 * 64), scales(97 * 8);
  for (auto& byte : codes) byte = static_cast<std::uint8_t>(random());
  for (auto& byte : scales) byte = static_cast<std::uint8_t>(random() % 0x7f);
  matrix<nvfp4_modelopt> const m{{codes.data(), scales.data(), 0.01f, 128}, 97, 128};
  auto const wide = dequantized<float>(m);
  auto const narrow = dequantized<bf16>(m);
  for (int const threads : {0, 2, 4}) {
    auto const again = dequantized<float>(m, threads);
    CHECK(std::memcmp(again.data(), wide.data(), wide.size() * sizeof(float)) == 0);
    CHECK(dequantized<bf16>(m, threads) == narrow);
  }
}

TEST_CASE("dequantize: shapes must agree and columns fill groups") {
  every_pair const pairs;
  auto const m = pairs.with(1.0f);
  CHECK(!refused(m, 127, 16));
  CHECK(refused(m, 126, 16) == errc::shape_mismatch);
  CHECK(refused(m, 128, 16) == errc::shape_mismatch);
  CHECK(refused(m, 127, 32) == errc::shape_mismatch);
  CHECK(refused(m, 16, 127) == errc::shape_mismatch);
  CHECK(!refused(matrix<counted>{{1.0f}, 2, 8}, 2, 8));
  CHECK(refused(matrix<counted>{{1.0f}, 2, 6}, 2, 6) == errc::shape_mismatch);
  CHECK(!refused(matrix<counted>{{1.0f}, 0, 8}, 0, 8));
}

TEST_CASE("dequantize to f16 is the f32 value rounded once, small and large") {
  for (std::int64_t const rows : {2, 300}) {
    std::int64_t const cols = 96;
    std::vector<std::uint8_t> codes(static_cast<std::size_t>(rows * cols / 2)), scales(static_cast<std::size_t>(rows * cols / 16));
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>(i * 37 + i / 7);
    for (std::size_t i = 0; i < scales.size(); ++i) scales[i] = static_cast<std::uint8_t>(i * 11 % 127);
    cull::matrix<cull::nvfp4_modelopt> const m{{codes.data(), scales.data(), 0.37f, cols}, rows, cols};
    std::vector<float> single(static_cast<std::size_t>(rows * cols));
    std::vector<cull::f16> half(single.size());
    cull::dequantize(cull::on_cpu{}, m, cull::matrix_view<float>{single.data(), rows, cols});
    cull::dequantize(cull::on_cpu{}, m, cull::matrix_view<cull::f16>{half.data(), rows, cols});
    std::int64_t different = 0;
    for (std::size_t i = 0; i < half.size(); ++i) different += half[i] == cull::f16::encode(single[i]) ? 0 : 1;
    CHECK(different == 0);
  }
}
