// SPDX-License-Identifier: Apache-2.0
// Formats of a user's own, of every shape that checkpoints have: none needs a change in the library.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <random>

#include <cull/expert.hpp>
#include <cull/tensor.hpp>

namespace user_format_tests {

namespace {

/// Blocks of 32 int8 with their f32 scale in front, as GGUF's Q8_0 has them (there the scale is f16).
struct scales_inside_blocks {
  struct parts {
    unsigned char const* bytes;
    std::int64_t blocks_per_row;
  };
  static constexpr std::int64_t group = 32;
  static void decode_group(parts const& p, std::int64_t row, std::int64_t g, float* out) noexcept {
    auto const* const block = p.bytes + 36 * (row * p.blocks_per_row + g);
    float scale;
    std::memcpy(&scale, block, 4);
    for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(static_cast<signed char>(block[4 + i])) * scale;
  }
  static float outer_scale(parts const&) noexcept { return 1; }
};

/// int8 with one scale per 128 x 128 square, as FP8 checkpoints of DeepSeek have it, edges cut off.
struct scales_per_square {
  struct parts {
    std::int8_t const* values;
    float const* scales;
    std::int64_t cols;
  };
  static constexpr std::int64_t group = 1;
  static void decode_group(parts const& p, std::int64_t row, std::int64_t col, float* out) noexcept {
    *out = static_cast<float>(p.values[row * p.cols + col]) * p.scales[(row / 128) * ((p.cols + 127) / 128) + col / 128];
  }
  static float outer_scale(parts const&) noexcept { return 1; }
};

/// f32 stored [cols, rows].
struct transposed {
  struct parts {
    float const* values;
    std::int64_t rows;
  };
  static constexpr std::int64_t group = 1;
  static void decode_group(parts const& p, std::int64_t row, std::int64_t col, float* out) noexcept {
    *out = p.values[col * p.rows + row];
  }
  static float outer_scale(parts const&) noexcept { return 1; }
};

/// Every second row of one expert's slice of a fused [experts, 2 * width, hidden] tensor: gate and up interleaved.
struct fused_slice {
  struct parts {
    float const* tensor;
    std::int64_t expert, width, hidden;
    std::int64_t odd;  // 0: gate, 1: up
    float scale;
  };
  static constexpr std::int64_t group = 4;
  static void decode_group(parts const& p, std::int64_t row, std::int64_t g, float* out) noexcept {
    std::memcpy(out, p.tensor + ((p.expert * 2 * p.width) + 2 * row + p.odd) * p.hidden + 4 * g, 16);
  }
  static float outer_scale(parts const& p) noexcept { return p.scale; }
};

static_assert(cull::matrix_format<scales_inside_blocks> && cull::matrix_format<scales_per_square> &&
              cull::matrix_format<transposed> && cull::matrix_format<fused_slice>);

/// Dequantises and multiplies, and compares both with `value(row, col)`.
template <class F, class Value>
void check(cull::matrix<F> const& m, Value&& value) {
  std::vector<float> out(static_cast<std::size_t>(m.rows * m.cols));
  cull::dequantize(cull::on_cpu{2}, m, cull::matrix_view<float>{out.data(), m.rows, m.cols});
  std::int64_t different = 0;
  for (std::int64_t r = 0; r < m.rows; ++r) {
    for (std::int64_t c = 0; c < m.cols; ++c) different += out[static_cast<std::size_t>(r * m.cols + c)] != value(r, c) ? 1 : 0;
  }
  CHECK(different == 0);

  std::vector<float> x(static_cast<std::size_t>(3 * m.cols)), y(static_cast<std::size_t>(3 * m.rows));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i));
  cull::any_matrix<F, cull::bf16_format> const any{m};
  cull::matmul(cull::on_cpu{2}, cull::matrix_view<float const>{x.data(), 3, m.cols}, any,
               cull::matrix_view<float>{y.data(), 3, m.rows});
  for (std::int64_t t = 0; t < 3; ++t) {
    for (std::int64_t r = 0; r < m.rows; ++r) {
      long double sum = 0, size = 0;
      for (std::int64_t c = 0; c < m.cols; ++c) {
        auto const product =
            static_cast<long double>(x[static_cast<std::size_t>(t * m.cols + c)]) * static_cast<long double>(value(r, c));
        sum += product;
        size += std::fabs(product);
      }
      CHECK(std::fabs(static_cast<long double>(y[static_cast<std::size_t>(t * m.rows + r)]) - sum) <= 1.2e-7L * size);
    }
  }
}

std::vector<float> noise(std::size_t count, unsigned seed) {
  std::mt19937 random{seed};
  std::uniform_real_distribution<float> uniform{-2, 2};
  std::vector<float> out(count);
  for (auto& v : out) v = uniform(random);
  return out;
}

}  // namespace

TEST_CASE("a format with scales inside its blocks") {
  std::int64_t const rows = 5, blocks = 3;
  auto const scales = noise(15, 1);
  std::vector<unsigned char> bytes;
  for (std::size_t b = 0; b < 15; ++b) {
    auto const* const raw = reinterpret_cast<unsigned char const*>(&scales[b]);
    bytes.insert(bytes.end(), raw, raw + 4);
    for (std::size_t i = 0; i < 32; ++i) bytes.push_back(static_cast<unsigned char>((b * 41 + i * 7) % 256));
  }
  check(cull::matrix<scales_inside_blocks>{{bytes.data(), blocks}, rows, 32 * blocks}, [&](std::int64_t r, std::int64_t c) {
    auto const b = static_cast<std::size_t>(r * blocks + c / 32);
    auto const raw = static_cast<int>((b * 41 + static_cast<std::size_t>(c % 32) * 7) % 256);
    return static_cast<float>(raw < 128 ? raw : raw - 256) * scales[b];
  });
}

TEST_CASE("a format with one scale per 128 x 128 square") {
  std::int64_t const rows = 150, cols = 300;
  auto const scales = noise(6, 2);
  std::vector<std::int8_t> values;
  for (std::int64_t i = 0; i < rows * cols; ++i) values.push_back(static_cast<std::int8_t>((i * 31) % 251 - 125));
  check(cull::matrix<scales_per_square>{{values.data(), scales.data(), cols}, rows, cols}, [&](std::int64_t r, std::int64_t c) {
    return static_cast<float>((r * cols + c) * 31 % 251 - 125) *
           scales[static_cast<std::size_t>((r >= 128 ? 3 : 0) + (c >= 256   ? 2
                                                                 : c >= 128 ? 1
                                                                            : 0))];
  });
}

TEST_CASE("a format stored transposed") {
  std::int64_t const rows = 7, cols = 11;
  auto const values = noise(77, 3);
  check(cull::matrix<transposed>{{values.data(), rows}, rows, cols},
        [&](std::int64_t r, std::int64_t c) { return values[static_cast<std::size_t>(c * 7 + r)]; });
}

TEST_CASE("a format that is a slice of a fused tensor of three dimensions") {
  std::int64_t const width = 6, hidden = 8;
  auto const tensor = noise(static_cast<std::size_t>(4 * 2 * width * hidden), 4);
  for (std::int64_t expert = 0; expert < 4; ++expert) {
    for (std::int64_t odd = 0; odd < 2; ++odd) {
      check(cull::matrix<fused_slice>{{tensor.data(), expert, width, hidden, odd, 0.5f}, width, hidden},
            [&](std::int64_t r, std::int64_t c) {
              return tensor[static_cast<std::size_t>(expert * 96 + (2 * r + odd) * 8 + c)] * 0.5f;
            });
    }
  }
}

}  // namespace user_format_tests
