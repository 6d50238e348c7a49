// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <cstring>
#include <numeric>
#include <set>

#include <cull/tensor.hpp>

namespace {

/// 128x4 tiles as a permutation of axes: [R/128, 4, 32, S/4, 4] -> [R/128, S/4, 32, 4, 4].
std::vector<std::uint8_t> by_permutation(std::vector<std::uint8_t> const& scales, std::int64_t rows, std::int64_t blocks) {
  std::int64_t const row_tiles = (rows + 127) / 128, block_tiles = (blocks + 3) / 4;
  std::vector<std::uint8_t> out;
  for (std::int64_t a = 0; a < row_tiles; ++a) {
    for (std::int64_t d = 0; d < block_tiles; ++d) {
      for (std::int64_t c = 0; c < 32; ++c) {
        for (std::int64_t b = 0; b < 4; ++b) {
          for (std::int64_t e = 0; e < 4; ++e) {
            auto const row = (a * 4 + b) * 32 + c, block = d * 4 + e;
            out.push_back(row < rows && block < blocks ? scales[static_cast<std::size_t>(row * blocks + block)] : std::uint8_t{0});
          }
        }
      }
    }
  }
  return out;
}

std::vector<std::uint8_t> numbers(std::int64_t count) {
  std::vector<std::uint8_t> out;
  for (std::int64_t i = 0; i < count; ++i) out.push_back(static_cast<std::uint8_t>(1 + (i * 37 + i / 251) % 255));
  return out;
}

}  // namespace

TEST_CASE("tiled_128x4: known places of 300 x 6") {
  using t = cull::tiled_128x4;
  CHECK(t::size(300, 6) == 3072);
  CHECK(t::offset(0, 3, 6) == 3);
  CHECK(t::offset(1, 0, 6) == 16);
  CHECK(t::offset(31, 3, 6) == 499);
  CHECK(t::offset(32, 0, 6) == 4);
  CHECK(t::offset(127, 3, 6) == 511);
  CHECK(t::offset(0, 4, 6) == 512);
  CHECK(t::offset(128, 0, 6) == 1024);
  CHECK(t::offset(129, 5, 6) == 1553);
  CHECK(t::offset(299, 5, 6) == 2741);
}

TEST_CASE("relayout: linear to tiled is the permutation, padded with zeros, and back") {
  for (std::int64_t const rows : {1, 31, 32, 33, 127, 128, 129, 300}) {
    for (std::int64_t const blocks : {1, 3, 4, 5, 8, 17}) {
      auto const scales = numbers(rows * blocks);
      std::vector<std::uint8_t> tiled(static_cast<std::size_t>(cull::tiled_128x4::size(rows, blocks)), 77), back(scales.size());
      cull::relayout<cull::linear, cull::tiled_128x4>(cull::array_view<std::uint8_t const>{scales}, tiled, rows, blocks);
      CHECK(tiled == by_permutation(scales, rows, blocks));
      cull::relayout<cull::tiled_128x4, cull::linear>(cull::array_view<std::uint8_t const>{tiled}, back, rows, blocks);
      CHECK(back == scales);
    }
  }
  std::vector<std::uint8_t> small(511), scales(10);
  CHECK_THROWS_AS((cull::relayout<cull::linear, cull::tiled_128x4>(cull::array_view<std::uint8_t const>{scales}, small, 2, 5)), cull::error);
}

TEST_CASE("nvfp4 with tiled scales decodes to the same values") {
  std::int64_t const rows = 130, cols = 80, blocks = cols / 16;
  auto const codes = numbers(rows * cols / 2);
  auto scales = numbers(rows * blocks);
  for (auto& s : scales) s &= 0x7e;
  std::vector<std::uint8_t> tiled(static_cast<std::size_t>(cull::tiled_128x4::size(rows, blocks)));
  cull::relayout<cull::linear, cull::tiled_128x4>(cull::array_view<std::uint8_t const>{scales}, tiled, rows, blocks);
  cull::matrix<cull::nvfp4_modelopt> const plain{{codes.data(), scales.data(), 0.3f, cols}, rows, cols};
  cull::matrix<cull::nvfp4<cull::modelopt, cull::tiled_128x4>> const swizzled{{codes.data(), tiled.data(), 0.3f, cols}, rows, cols};
  std::vector<float> a(static_cast<std::size_t>(rows * cols)), b(a.size());
  cull::dequantize(cull::on_cpu{2}, plain, cull::matrix_view<float>{a.data(), rows, cols});
  cull::dequantize(cull::on_cpu{2}, swizzled, cull::matrix_view<float>{b.data(), rows, cols});
  CHECK(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

TEST_CASE("views: strides, rows and conversion to const") {
  std::vector<int> data(20);
  std::iota(data.begin(), data.end(), 0);
  cull::matrix_view<int> const m{data.data(), 3, 4, 6};
  CHECK(m(2, 3) == 15);
  CHECK(m.row(1)[2] == 8);
  CHECK(m.rows(1, 2)(1, 0) == 12);
  cull::matrix_view<int const> const read = m;
  CHECK(read.stride() == 6);
  m(0, 0) = 99;
  CHECK(read(0, 0) == 99);
  cull::array_view<int const> const all = data;
  CHECK(std::accumulate(all.begin(), all.end(), 0) == 190 + 99);
  CHECK(cull::array_view<int>{}.empty());
}

TEST_CASE("any_matrix: one visit in the format it holds; values at any alignment") {
  std::vector<unsigned char> bytes(1 + 2 * 6);
  float const values[] = {1, -2, 0.5f, 3, 4, -0.25f};
  for (std::size_t i = 0; i < 6; ++i) {
    auto const b = cull::bf16::encode(values[i]);
    std::memcpy(bytes.data() + 1 + 2 * i, &b, 2);
  }
  cull::weight_matrix const any{cull::matrix<cull::bf16_format>{{bytes.data() + 1, 3}, 2, 3}};
  CHECK(any.rows() == 2);
  CHECK(any.cols() == 3);
  CHECK(any.get_if<cull::f32_format>() == nullptr);
  REQUIRE(any.get_if<cull::bf16_format>() != nullptr);
  std::vector<float> out(6);
  any.visit([&](auto const& m) { cull::dequantize(cull::on_cpu{}, m, cull::matrix_view<float>{out.data(), 2, 3}); });
  for (std::size_t i = 0; i < 6; ++i) CHECK(out[i] == values[i]);
}
