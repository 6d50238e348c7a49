// SPDX-License-Identifier: Apache-2.0
// GGUF's 4-bit blocks: values by the formula, bytes by published vectors, and both ways between them and safetensors' layouts.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <random>
#include <vector>

#include <cull/tensor.hpp>

#include <support/safetensors_lite.hpp>

namespace gguf_tests {

namespace {

using cull::errc;
using cull::matrix;
using cull::matrix_view;
using bytes = std::vector<std::uint8_t>;

double code_value(unsigned code) {
  double const magnitudes[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  return code >= 8 ? -magnitudes[code - 8] : magnitudes[code];
}

double ue4m3_value(unsigned byte) {
  unsigned const m = byte & 0x7f;
  if (m == 0x7f) return 0;
  return m < 8 ? std::ldexp(m, -9) : std::ldexp(8 + m % 8, static_cast<int>(m / 8) - 10);
}

bytes noise(std::size_t count, unsigned seed) {
  std::mt19937 random{seed};
  bytes out(count);
  for (auto& byte : out) byte = static_cast<std::uint8_t>(random());
  return out;
}

template <class F>
std::vector<float> dequantized(matrix<F> const& m) {
  std::vector<float> out(static_cast<std::size_t>(m.rows * m.cols));
  cull::dequantize(cull::on_cpu{}, m, matrix_view<float>{out.data(), m.rows, m.cols});
  return out;
}

/// As numbers; NaN equals NaN.
std::int64_t differing(std::vector<float> const& a, std::vector<float> const& b) {
  REQUIRE(a.size() == b.size());
  std::int64_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) count += !(a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i])));
  return count;
}

bytes to_nvfp4_blocks(bytes const& codes, bytes const& scales, std::int64_t rows, std::int64_t cols) {
  bytes blocks(static_cast<std::size_t>(rows * cols / 64 * 36), 0xee);
  cull::to_gguf_nvfp4(codes, scales, rows, cols, blocks);
  return blocks;
}

bytes to_mxfp4_blocks(bytes const& codes, bytes const& scales, std::int64_t rows, std::int64_t cols) {
  bytes blocks(static_cast<std::size_t>(rows * cols / 32 * 17), 0xee);
  cull::to_gguf_mxfp4(codes, scales, rows, cols, blocks);
  return blocks;
}

template <class Call>
std::optional<errc> refused(Call&& call) {
  try {
    call();
  } catch (cull::error const& e) {
    return e.code();
  }
  return {};
}

}  // namespace

TEST_CASE("gguf_nvfp4: every scale byte and code in every place of a block by the formula, exact") {
  for (unsigned place = 0; place < 64; ++place) {
    std::int64_t wrong = 0;
    for (unsigned scale = 0; scale < 256; ++scale) {
      for (unsigned code = 0; code < 16; ++code) {
        bytes block(36, 0xff);
        for (unsigned s = 0; s < 4; ++s) block[s] = 0x11;
        block[place / 16] = static_cast<std::uint8_t>(scale);
        auto& byte = block[4 + place / 16 * 8 + place % 8];
        byte = static_cast<std::uint8_t>(place % 16 < 8 ? 0xf0 | code : 0x0f | code << 4);
        float out[64];
        cull::gguf_nvfp4::decode_group({block.data(), 64}, 0, 0, out);
        wrong += static_cast<double>(out[place]) != code_value(code) * ue4m3_value(scale);
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("gguf_mxfp4: every scale byte and code in every place of a block by the formula") {
  for (unsigned place = 0; place < 32; ++place) {
    std::int64_t wrong = 0;
    for (unsigned scale = 0; scale < 256; ++scale) {
      for (unsigned code = 0; code < 16; ++code) {
        bytes block(17, 0xff);
        block[0] = static_cast<std::uint8_t>(scale);
        block[1 + place % 16] = static_cast<std::uint8_t>(place < 16 ? 0xf0 | code : 0x0f | code << 4);
        float out[32];
        cull::gguf_mxfp4::decode_group({block.data(), 32}, 0, 0, out);
        auto const wanted = static_cast<float>(std::ldexp(code_value(code), static_cast<int>(scale) - 127));
        wrong += scale == 0xff ? !std::isnan(out[place]) : out[place] != wanted;
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("to_gguf_nvfp4: published vectors") {
  bytes const ordinary{0x9f, 0xe6, 0x72, 0x4c, 0xaf, 0xe6, 0x60, 0x3d};
  bytes const ties{0x10, 0x32, 0x54, 0x76, 0x90, 0xba, 0xdc, 0xfe};  // codes 0123456709abcdef
  bytes codes = ordinary, scales{0x7e, 0x38, 0x80, 0xff};
  codes.insert(codes.end(), ties.begin(), ties.end());
  codes.resize(32, 0x21);
  auto const blocks = to_nvfp4_blocks(codes, scales, 1, 64);
  bytes expected{0x7e, 0x38, 0x00, 0x7f};
  expected.insert(expected.end(), {0xff, 0xa9, 0x66, 0xee, 0x02, 0x67, 0xdc, 0x34});
  expected.insert(expected.end(), {0x00, 0x91, 0xa2, 0xb3, 0xc4, 0xd5, 0xe6, 0xf7});
  for (int i = 0; i < 2; ++i) expected.insert(expected.end(), {0x11, 0x22, 0x11, 0x22, 0x11, 0x22, 0x11, 0x22});
  CHECK(blocks == expected);
}

TEST_CASE("GGUF's NVFP4 and back: every byte comes back, and the numbers are those of modelopt's layout") {
  for (std::int64_t const cols : {64, 256, 448}) {
    auto const codes = noise(static_cast<std::size_t>(7 * cols / 2), 1);
    auto scales = noise(static_cast<std::size_t>(7 * cols / 16), 2);
    for (auto& scale : scales) scale = static_cast<std::uint8_t>((scale & 0x7f) == 0x7f ? 0x7e : scale & 0x7f);
    auto const blocks = to_nvfp4_blocks(codes, scales, 7, cols);
    bytes codes_back(codes.size(), 0xee), scales_back(scales.size(), 0xee);
    cull::from_gguf_nvfp4(blocks, 7, cols, codes_back, scales_back);
    CHECK(codes_back == codes);
    CHECK(scales_back == scales);
    CHECK(to_nvfp4_blocks(codes_back, scales_back, 7, cols) == blocks);
    matrix<cull::gguf_nvfp4> const theirs{{blocks.data(), cols, 0.5f}, 7, cols};
    matrix<cull::nvfp4_modelopt> const ours{{codes.data(), scales.data(), 0.5f, cols}, 7, cols};
    CHECK(differing(dequantized(theirs), dequantized(ours)) == 0);
    CHECK(cull::gguf_nvfp4::outer_scale(theirs.parts) == 0.5f);
  }
}

TEST_CASE("GGUF's MXFP4 and back: every byte comes back, and the numbers are those of mxfp4") {
  for (std::int64_t const cols : {32, 96, 256}) {
    auto const codes = noise(static_cast<std::size_t>(7 * cols / 2), 3);
    auto const scales = noise(static_cast<std::size_t>(7 * cols / 32), 4);
    auto const blocks = to_mxfp4_blocks(codes, scales, 7, cols);
    bytes codes_back(codes.size(), 0xee), scales_back(scales.size(), 0xee);
    cull::from_gguf_mxfp4(blocks, 7, cols, codes_back, scales_back);
    CHECK(codes_back == codes);
    CHECK(scales_back == scales);
    matrix<cull::gguf_mxfp4> const theirs{{blocks.data(), cols}, 7, cols};
    matrix<cull::mxfp4> const ours{{codes.data(), scales.data(), cols}, 7, cols};
    CHECK(differing(dequantized(theirs), dequantized(ours)) == 0);
  }
}

TEST_CASE("GGUF's blocks of modelopt's and compressed-tensors' fixtures come back as they were") {
  int matrices = 0;
  for (auto const& entry : std::filesystem::directory_iterator{CULL_TEST_DATA "/nvfp4"}) {
    auto const file = test_support::read_safetensors(entry.path().string());
    auto const& codes = file.at("mxfp4.weight").bytes;
    auto const& scales = file.at("mxfp4.weight_scale").bytes;
    auto const blocks = to_mxfp4_blocks(codes, scales, 48, 256);
    auto const wanted = file.at("mxfp4.dequantized.f32").as<float>();
    CHECK(differing(dequantized(matrix<cull::gguf_mxfp4>{{blocks.data(), 256}, 48, 256}), wanted) == 0);
    bytes codes_back(codes.size()), scales_back(scales.size());
    cull::from_gguf_mxfp4(blocks, 48, 256, codes_back, scales_back);
    CHECK(codes_back == codes);
    CHECK(scales_back == scales);
    // 48 * 272 values, read as 51 * 256: blocks of 16 know no rows.
    auto const& nvfp4 = file.at("modelopt.weight").bytes;
    auto const& nvfp4_scales = file.at("modelopt.weight_scale").bytes;
    bytes again(nvfp4.size()), scales_again(nvfp4_scales.size());
    cull::from_gguf_nvfp4(to_nvfp4_blocks(nvfp4, nvfp4_scales, 51, 256), 51, 256, again, scales_again);
    CHECK(again == nvfp4);
    CHECK(scales_again == nvfp4_scales);
    ++matrices;
  }
  CHECK(matrices == 20);
}

TEST_CASE("GGUF's formats: every second row") {
  auto const nvfp4 = noise(6 * 2 * 36, 5), mxfp4 = noise(6 * 4 * 17, 6);
  auto const all = dequantized(matrix<cull::gguf_nvfp4>{{nvfp4.data(), 128}, 6, 128});
  auto const odd = dequantized(matrix<cull::gguf_nvfp4>{{nvfp4.data() + 72, 128, 1.0f, 2}, 3, 128});
  auto const all_mx = dequantized(matrix<cull::gguf_mxfp4>{{mxfp4.data(), 128}, 6, 128});
  auto const even_mx = dequantized(matrix<cull::gguf_mxfp4>{{mxfp4.data(), 128, 2}, 3, 128});
  std::vector<float> wanted, wanted_mx;
  for (std::size_t row = 0; row < 3; ++row) {
    wanted.insert(wanted.end(), &all[(2 * row + 1) * 128], &all[(2 * row + 1) * 128] + 128);
    wanted_mx.insert(wanted_mx.end(), &all_mx[2 * row * 128], &all_mx[2 * row * 128] + 128);
  }
  CHECK(differing(odd, wanted) == 0);
  CHECK(differing(even_mx, wanted_mx) == 0);
}

TEST_CASE("GGUF's conversions refuse columns that fill no block, and buffers of another size") {
  bytes codes(64), scales(8), blocks(72);
  auto const nvfp4 = [&](std::int64_t rows, std::int64_t cols) {
    return refused([&] { cull::to_gguf_nvfp4(codes, scales, rows, cols, blocks); });
  };
  CHECK(nvfp4(2, 64) == std::nullopt);
  CHECK(nvfp4(1, 128) == std::nullopt);
  for (std::int64_t const cols : {16, 32, 48, 63, 96}) CHECK(nvfp4(128 / cols, cols) == errc::shape_mismatch);
  CHECK(nvfp4(3, 64) == errc::shape_mismatch);
  CHECK(nvfp4(-2, -64) == errc::shape_mismatch);
  scales.resize(7);
  CHECK(nvfp4(2, 64) == errc::shape_mismatch);
  CHECK(refused([&] { cull::from_gguf_nvfp4(blocks, 2, 64, codes, scales); }) == errc::shape_mismatch);
  scales.resize(4);
  blocks.resize(68);
  CHECK(refused([&] { cull::to_gguf_mxfp4(codes, scales, 2, 64, blocks); }) == std::nullopt);
  CHECK(refused([&] { cull::to_gguf_mxfp4(codes, scales, 8, 16, blocks); }) == errc::shape_mismatch);
  codes.resize(63);
  CHECK(refused([&] { cull::from_gguf_mxfp4(blocks, 2, 64, codes, scales); }) == errc::shape_mismatch);
}

}  // namespace gguf_tests
