// SPDX-License-Identifier: Apache-2.0
// quantize by published vectors and by what it promises; modelopt's own bytes are in nvfp4_test.cpp.
#include <doctest/doctest.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <random>
#include <vector>

#include <cull/tensor.hpp>

namespace {

using cull::errc;
using cull::matrix_view;
using cull::nvfp4_buffer;
using cull::on_cpu;
using bytes = std::vector<std::uint8_t>;

template <class T>
nvfp4_buffer quantized(matrix_view<T> source, std::optional<float> tensor_scale = {}, int threads = 1) {
  nvfp4_buffer out;
  cull::quantize(on_cpu{threads}, cull::modelopt{}, source, out, tensor_scale);
  return out;
}

nvfp4_buffer quantized_row(std::vector<float> values, std::optional<float> tensor_scale = {}) {
  values.resize((values.size() + 15) / 16 * 16);
  return quantized(matrix_view<float const>{values.data(), 1, static_cast<std::int64_t>(values.size())}, tensor_scale);
}

std::vector<float> noise(std::size_t count, unsigned seed) {
  std::mt19937 random{seed};
  std::normal_distribution<float> normal{0, 0.02f};
  std::vector<float> out(count);
  for (auto& value : out) value = normal(random);
  return out;
}

bool same_bytes(nvfp4_buffer const& a, nvfp4_buffer const& b) {
  return a.rows == b.rows && a.cols == b.cols && a.codes == b.codes && a.scales == b.scales &&
         std::bit_cast<std::uint32_t>(a.tensor_scale) == std::bit_cast<std::uint32_t>(b.tensor_scale);
}

template <class T>
std::optional<errc> refused(matrix_view<T> source, std::optional<float> tensor_scale = {}, int threads = 1) {
  try {
    quantized(source, tensor_scale, threads);
  } catch (cull::error const& e) {
    return e.code();
  }
  return {};
}

constexpr float infinity = std::numeric_limits<float>::infinity();

}  // namespace

TEST_CASE("quantize: ties go to the even code, both signs") {
  std::vector<float> values{.25f, .75f, 1.25f, 1.75f, 2.5f, 3.5f, 5, 6};
  for (std::size_t i = 0; i < 8; ++i) values.push_back(-values[i]);
  auto const out = quantized_row(values, 1.0f);
  CHECK(out.scales == bytes{0x38});
  CHECK(out.codes == bytes{0x20, 0x42, 0x64, 0x76, 0xa8, 0xca, 0xec, 0xfe});
}

TEST_CASE("quantize: two ordinary blocks with their own tensor scale") {
  int const numerators[] = {-312, -16, 280, -232, 64, 360, -152, 144, -368, -72, 224, -288, 8,   304, -208, 88,
                            48,   -16, 21,  -43,  -6, 31,  -33,  4,   41,   -23, 14,  -50,  -13, 24,  -40,  -3};
  std::vector<float> values;
  for (int const q : numerators) values.push_back(static_cast<float>(q) / 8192);
  auto const out = quantized_row(values);
  CHECK(std::bit_cast<std::uint32_t>(out.tensor_scale) == 0x378c30c3u);
  CHECK(out.scales == bytes{0x7e, 0x67});
  CHECK(out.codes == bytes{0x9f, 0xe6, 0x72, 0x4c, 0xaf, 0xe6, 0x60, 0x3d,  //
                           0xc7, 0xf5, 0x69, 0x1e, 0xd6, 0xf3, 0x5b, 0x9e});
}

TEST_CASE("quantize: a block of zeros has scale one, a block of tiny values the smallest scale") {
  CHECK(quantized_row({0}, 1e-4f).scales == bytes{0x38});
  CHECK(quantized_row({0}, 1e-4f).codes == bytes(8, 0));
  auto const tiny = quantized_row({1e-7f, -1e-7f}, 1e-4f);
  CHECK(tiny.scales == bytes{0x01});
  CHECK(tiny.codes == bytes{0x91, 0, 0, 0, 0, 0, 0, 0});
}

TEST_CASE("quantize: a tensor scale that is too small saturates scale and codes") {
  auto const out = quantized_row({1000, -1000, 1}, 0x1p-20f);
  CHECK(out.scales == bytes{0x7e});
  CHECK(out.codes == bytes{0xf7, 0x07, 0, 0, 0, 0, 0, 0});
}

TEST_CASE("quantize: negative zero is coded as zero, a small negative number as negative zero") {
  auto const out = quantized_row({6, -0.0f, -0.01f, 0.01f}, 1.0f);
  CHECK(out.codes == bytes{0x07, 0x08, 0, 0, 0, 0, 0, 0});
}

TEST_CASE("quantize: a tensor of zeros has tensor scale zero and zero codes") {
  for (float const zero : {0.0f, -0.0f}) {
    auto const out = quantized_row(std::vector<float>(32, zero));
    CHECK(std::bit_cast<std::uint32_t>(out.tensor_scale) == 0u);
    CHECK(out.scales == bytes{0x38, 0x38});
    CHECK(out.codes == bytes(16, 0));
  }
  CHECK(quantized_row({1, -2}, 0.0f).codes == bytes(8, 0));
}

TEST_CASE("quantize: the tensor scale is amax / 2688, wherever the largest magnitude lies") {
  for (std::size_t const at : {0u, 17u, 95u}) {
    auto values = noise(96, 1);
    values[at] = -0.7f;
    auto const out = quantized(matrix_view<float const>{values.data(), 3, 32});
    CHECK(out.tensor_scale == 0.7f / 2688.0f);
  }
}

TEST_CASE("quantize: bytes do not depend on threads") {
  auto const values = noise(101 * 272, 2);
  matrix_view<float const> const source{values.data(), 101, 272};
  auto const one = quantized(source);
  for (int const threads : {0, 2, 4}) {
    CHECK(same_bytes(quantized(source, {}, threads), one));
    CHECK(same_bytes(quantized(source, one.tensor_scale, threads), one));
  }
}

TEST_CASE("quantize: a strided source is read by its stride") {
  auto const values = noise(9 * 50, 3);
  std::vector<float> compact;
  for (std::size_t row = 0; row < 9; ++row) {
    compact.insert(compact.end(), &values[row * 50 + 1], &values[row * 50 + 1] + 32);
  }
  CHECK(same_bytes(quantized(matrix_view<float const>{values.data() + 1, 9, 32, 50}),
                   quantized(matrix_view<float const>{compact.data(), 9, 32})));
}

TEST_CASE("quantize: bf16 is quantised as the f32 of the same value, whether the source is const or not") {
  auto values = noise(8 * 64, 4);
  std::vector<cull::bf16> narrow;
  for (auto& value : values) {
    narrow.push_back(cull::bf16::encode(value));
    value = narrow.back().decode();
  }
  auto const expected = quantized(matrix_view<float const>{values.data(), 8, 64});
  CHECK(same_bytes(quantized(matrix_view<float>{values.data(), 8, 64}), expected));
  CHECK(same_bytes(quantized(matrix_view<cull::bf16>{narrow.data(), 8, 64}), expected));
  CHECK(same_bytes(quantized(matrix_view<cull::bf16 const>{narrow.data(), 8, 64}), expected));
}

TEST_CASE("quantize: a buffer used before is written anew") {
  auto const large = noise(16 * 64, 5), small = noise(2 * 32, 6);
  matrix_view<float const> const source{small.data(), 2, 32};
  auto used = quantized(matrix_view<float const>{large.data(), 16, 64});
  cull::quantize(on_cpu{}, cull::modelopt{}, source, used);
  CHECK(same_bytes(used, quantized(source)));
  CHECK(used.codes.size() == 32);
  CHECK(used.scales.size() == 4);
}

TEST_CASE("nvfp4_buffer: its view points at its own bytes") {
  auto const values = noise(4 * 48, 7);
  auto const out = quantized(matrix_view<float const>{values.data(), 4, 48});
  auto const view = out.view();
  CHECK(view.rows == 4);
  CHECK(view.cols == 48);
  CHECK(view.parts.cols == 48);
  CHECK(view.parts.codes == out.codes.data());
  CHECK(view.parts.scales == out.scales.data());
  CHECK(view.parts.tensor_scale == out.tensor_scale);
}

TEST_CASE("quantize: a matrix without rows or columns is no error") {
  CHECK(quantized(matrix_view<float const>{nullptr, 0, 32}).codes.empty());
  CHECK(quantized(matrix_view<float const>{nullptr, 4, 0}).scales.empty());
}

TEST_CASE("quantize: columns must fill blocks of 16") {
  auto const values = noise(64, 8);
  for (std::int64_t const cols : {1, 8, 15, 17, 24}) {
    CHECK(refused(matrix_view<float const>{values.data(), 2, cols}) == errc::shape_mismatch);
  }
}

TEST_CASE("quantize: NaN and infinity in the source are refused, with any number of threads") {
  for (float const bad : {std::numeric_limits<float>::quiet_NaN(), infinity, -infinity}) {
    for (int const threads : {1, 4}) {
      auto values = noise(8 * 32, 9);
      values[200] = bad;
      std::vector<cull::bf16> narrow;
      for (float const value : values) narrow.push_back(cull::bf16::encode(value));
      CHECK(refused(matrix_view<float const>{values.data(), 8, 32}, {}, threads) == errc::not_finite);
      CHECK(refused(matrix_view<float const>{values.data(), 8, 32}, 1e-4f, threads) == errc::not_finite);
      CHECK(refused(matrix_view<cull::bf16 const>{narrow.data(), 8, 32}, {}, threads) == errc::not_finite);
    }
  }
}

TEST_CASE("quantize: a tensor scale must be finite and not negative") {
  auto const values = noise(32, 10);
  matrix_view<float const> const source{values.data(), 1, 32};
  for (float const scale : {-1.0f, -1e-45f, infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
    CHECK(refused(source, scale) == errc::not_finite);
  }
  for (float const scale : {0.0f, 1e-45f, 1.0f, std::numeric_limits<float>::max()}) CHECK(!refused(source, scale));
}
