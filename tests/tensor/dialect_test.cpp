// SPDX-License-Identifier: Apache-2.0
// compressed-tensors' NVFP4 and modelopt's MXFP4 against those programs' own bytes; conversion between NVFP4's dialects.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <cull/expert.hpp>
#include <cull/tensor.hpp>

#include <support/safetensors_lite.hpp>

namespace dialect_tests {

namespace {

using cull::compressed_tensors;
using cull::errc;
using cull::matrix;
using cull::matrix_view;
using cull::modelopt;
using cull::on_cpu;
using test_support::tensor;
using bytes = std::vector<std::uint8_t>;

std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }

std::vector<std::map<std::string, tensor>> fixtures() {
  std::vector<std::map<std::string, tensor>> out;
  for (auto const& entry : std::filesystem::directory_iterator{CULL_TEST_DATA "/nvfp4"}) {
    out.push_back(test_support::read_safetensors(entry.path().string()));
  }
  return out;
}

std::int64_t differing(bytes const& ours, std::vector<unsigned char> const& theirs) {
  REQUIRE(ours.size() == theirs.size());
  std::int64_t count = 0;
  for (std::size_t i = 0; i < ours.size(); ++i) count += ours[i] != theirs[i];
  return count;
}

template <class F>
std::vector<float> dequantized(matrix<F> const& m) {
  std::vector<float> out(static_cast<std::size_t>(m.rows * m.cols));
  cull::dequantize(on_cpu{2}, m, matrix_view<float>{out.data(), m.rows, m.cols});
  return out;
}

cull::nvfp4_compressed_buffer compressed_row(std::vector<float> values, std::optional<float> global_scale = {}) {
  values.resize((values.size() + 15) / 16 * 16);
  cull::nvfp4_compressed_buffer out;
  auto const cols = static_cast<std::int64_t>(values.size());
  cull::quantize(on_cpu{}, compressed_tensors{}, matrix_view<float const>{values.data(), 1, cols}, out, global_scale);
  return out;
}

cull::mxfp4_buffer mxfp4_row(std::vector<float> values) {
  values.resize(32);
  cull::mxfp4_buffer out;
  cull::quantize(on_cpu{}, cull::mxfp4_modelopt{}, matrix_view<float const>{values.data(), 1, 32}, out);
  return out;
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

TEST_CASE("quantize to compressed-tensors' NVFP4: its codes, block scales and global scale, for every kind of input") {
  std::int64_t codes = 0, scales = 0, global_scales = 0, values = 0;
  int files = 0;
  for (auto const& file : fixtures()) {
    if (!file.contains("compressed_tensors.weight_packed")) continue;
    auto const input = file.at("input").as<float>();
    float const wanted = file.at("compressed_tensors.weight_global_scale").as<float>().at(0);
    for (int const threads : {1, 3}) {
      for (auto const given : {std::optional<float>{}, std::optional<float>{wanted}}) {
        cull::nvfp4_compressed_buffer ours;
        cull::quantize(on_cpu{threads}, compressed_tensors{}, matrix_view<float const>{input.data(), 48, 272}, ours, given);
        codes += differing(ours.codes, file.at("compressed_tensors.weight_packed").bytes);
        scales += differing(ours.scales, file.at("compressed_tensors.weight_scale").bytes);
        global_scales += bits(ours.global_scale) != bits(wanted);
        auto const decoded = dequantized(ours.view());
        auto const expected = file.at("compressed_tensors.dequantized.f32").as<float>();
        for (std::size_t i = 0; i < expected.size(); ++i) values += decoded[i] != expected[i];
      }
    }
    ++files;
  }
  CHECK(files == 10);
  CHECK(codes == 0);
  CHECK(scales == 0);
  CHECK(global_scales == 0);
  CHECK(values == 0);
}

TEST_CASE("quantize to MXFP4: modelopt's codes and scales for every kind of input, f32 and bf16, its numbers back") {
  std::int64_t codes = 0, scales = 0, values = 0;
  int files = 0;
  for (auto const& file : fixtures()) {
    auto const& input = file.at("input");
    for (int const threads : {1, 3}) {
      cull::mxfp4_buffer ours;
      if (input.dtype == "F32") {
        auto const source = input.as<float>();
        cull::quantize(on_cpu{threads}, cull::mxfp4_modelopt{}, matrix_view<float const>{source.data(), 48, 256, 272}, ours);
      } else {
        auto const source = input.as<cull::bf16>();
        cull::quantize(on_cpu{threads}, cull::mxfp4_modelopt{}, matrix_view<cull::bf16 const>{source.data(), 48, 256, 272}, ours);
      }
      codes += differing(ours.codes, file.at("mxfp4.weight").bytes);
      scales += differing(ours.scales, file.at("mxfp4.weight_scale").bytes);
      auto const decoded = dequantized(ours.view());
      auto const expected = file.at("mxfp4.dequantized.f32").as<float>();
      for (std::size_t i = 0; i < expected.size(); ++i) values += decoded[i] != expected[i];
    }
    ++files;
  }
  CHECK(files == 20);
  CHECK(codes == 0);
  CHECK(scales == 0);
  CHECK(values == 0);
}

TEST_CASE("quantize to compressed-tensors' NVFP4: ties, signed zeros, zero blocks, two ordinary blocks, by published bytes") {
  std::vector<float> ties{.25f, .75f, 1.25f, 1.75f, 2.5f, 3.5f, 5, 6};
  for (std::size_t i = 0; i < 8; ++i) ties.push_back(-ties[i]);
  auto const tied = compressed_row(ties, 1.0f);
  CHECK(tied.scales == bytes{0x38});
  CHECK(tied.codes == bytes{0x20, 0x42, 0x64, 0x76, 0xa8, 0xca, 0xec, 0xfe});
  CHECK(compressed_row({6, -0.0f, -0.01f, 0.01f}, 1.0f).codes == bytes{0x07, 0x08, 0, 0, 0, 0, 0, 0});
  auto const zero = compressed_row({0});
  CHECK(zero.global_scale == 1.0f);
  CHECK(zero.scales == bytes{0x20});
  CHECK(zero.codes == bytes(8, 0));
  auto const tiny = compressed_row({1e-7f, -1e-7f}, 1e4f);
  CHECK(tiny.scales == bytes{0x20});
  CHECK(tiny.codes == bytes{0x80, 0, 0, 0, 0, 0, 0, 0});
  int const numerators[] = {-312, -16, 280, -232, 64, 360, -152, 144, -368, -72, 224, -288, 8,   304, -208, 88,
                            48,   -16, 21,  -43,  -6, 31,  -33,  4,   41,   -23, 14,  -50,  -13, 24,  -40,  -3};
  std::vector<float> values;
  for (int const q : numerators) values.push_back(static_cast<float>(q) / 8192);
  auto const two = compressed_row(values);
  CHECK(bits(two.global_scale) == 0x4769bd38u);
  CHECK(two.scales == bytes{0x7e, 0x67});
  CHECK(two.codes == bytes{0x9f, 0xe6, 0x72, 0x4c, 0xaf, 0xe6, 0x60, 0x3d,  //
                           0xc7, 0xf5, 0x69, 0x1e, 0xd6, 0xf3, 0x5b, 0x9e});
}

TEST_CASE("quantize to MXFP4: ties towards zero, zeros are code 8, scale rounded up, by published bytes") {
  std::vector<float> ties{.25f, .75f, 1.25f, 1.75f, 2.5f, 3.5f, 5, 6};
  for (std::size_t i = 0; i < 8; ++i) ties.push_back(-ties[i]);
  auto const out = mxfp4_row(ties);
  CHECK(out.scales == bytes{0x7f});
  bytes expected{0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe};
  expected.insert(expected.end(), 8, 0x88);
  CHECK(out.codes == expected);
  CHECK(mxfp4_row({0}).scales == bytes{0x00});
  CHECK(mxfp4_row({6.001f}).scales == bytes{0x80});
  // 12 * (1 + 2^-23): a sixth of it is 2 and one step, whose f32 logarithm rounds up to more than 1 as well.
  CHECK(mxfp4_row({std::nextafter(12.0f, 13.0f)}).scales == bytes{0x81});
  CHECK(mxfp4_row({3.4028235e38f}).scales == bytes{0xfd});
  CHECK(mxfp4_row({1e-44f}).scales == bytes{0x00});
}

TEST_CASE("quantize: what the dialects refuse") {
  std::vector<float> values(96, 1.0f);
  auto const compressed = [&](std::int64_t cols, std::optional<float> scale = {}) {
    return refused([&] {
      cull::nvfp4_compressed_buffer out;
      cull::quantize(on_cpu{}, compressed_tensors{}, matrix_view<float const>{values.data(), 1, cols}, out, scale);
    });
  };
  auto const mxfp4 = [&](std::int64_t cols) {
    return refused([&] {
      cull::mxfp4_buffer out;
      cull::quantize(on_cpu{}, cull::mxfp4_modelopt{}, matrix_view<float const>{values.data(), 1, cols}, out);
    });
  };
  CHECK(compressed(24) == errc::shape_mismatch);
  CHECK(mxfp4(48) == errc::shape_mismatch);
  for (float const scale : {0.0f, -1.0f, NAN, INFINITY}) CHECK(compressed(32, scale) == errc::not_finite);
  CHECK(!compressed(48));
  CHECK(!mxfp4(96));
  for (float const bad : {NAN, INFINITY, -INFINITY}) {
    values[7] = bad;
    CHECK(compressed(32) == errc::not_finite);
    CHECK(mxfp4(32) == errc::not_finite);
  }
}

TEST_CASE("nvfp4_compressed: every code, scale and several divisors by the formula; products get the divisor's f64 reciprocal") {
  bytes codes, scales;
  for (int scale = 0; scale < 127; ++scale) {
    scales.push_back(static_cast<std::uint8_t>(scale));
    for (int pair = 0; pair < 8; ++pair) codes.push_back(static_cast<std::uint8_t>((2 * pair) | ((2 * pair + 1) << 4)));
  }
  float const magnitudes[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  for (float const divisor : {1.0f, 3.0f, std::bit_cast<float>(0x4769bd38u), 1e30f, 1e-30f, 3e38f}) {
    matrix<cull::nvfp4_compressed> const m{{codes.data(), scales.data(), divisor, 16}, 127, 16};
    CHECK(cull::nvfp4_compressed::outer_scale(m.parts) == 1.0 / static_cast<double>(divisor));
    auto const out = dequantized(m);
    int wrong = 0;
    for (int i = 0; i < 127 * 16; ++i) {
      int const row = i / 16, code = i % 16;
      double const scale = row / 8 == 0 ? row * 0x1p-9 : (8 + row % 8) * std::ldexp(1.0, row / 8 - 10);
      // f64 holds the quotient of two f32 to more than twice their digits: rounding it again gives the f32 quotient.
      auto const factor = static_cast<float>(scale / static_cast<double>(divisor));
      float const wanted = (code < 8 ? magnitudes[code] : -magnitudes[code - 8]) * factor;
      wrong += bits(out[static_cast<std::size_t>(i)]) != bits(wanted);
      float group[16];
      cull::nvfp4_compressed::decode_group(m.parts, row, 0, group);
      wrong += static_cast<double>(group[code]) != (code < 8 ? magnitudes[code] : -magnitudes[code - 8]) * scale;
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("returns_from_reciprocal: of all 2^23 significands 17.2 % do not return, and exactly those are no f32's reciprocal") {
  std::uint32_t const count = 1u << 23;
  std::vector<bool> reached(count);  // of [1, 2), from all divisors in (0.5, 1]
  for (std::uint32_t i = 1; i <= count; ++i) {
    float const reciprocal = 1.0f / std::bit_cast<float>(0x3f000000u + i);
    if (reciprocal < 2.0f) reached[bits(reciprocal) - 0x3f800000u] = true;
  }
  std::uint32_t lost = 0, contradictions = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    bool const returns = cull::returns_from_reciprocal(std::bit_cast<float>(0x3f800000u + i));
    lost += !returns;
    contradictions += returns != reached[i];
  }
  CHECK(contradictions == 0);
  CHECK(static_cast<double>(lost) / count == doctest::Approx(0.1716).epsilon(0.001));
  MESSAGE("of 8388608 significands " << lost << " do not return");
}

TEST_CASE("convert_dialect: codes and scales stay, the tensor scale is inverted; the kept scalar makes the way back exact") {
  bytes const codes(2 * 3 * 8, 0x21), scales(2 * 3, 0x40);
  for (std::uint32_t const pattern : {0x38b50913u, 0x378c30c3u, 0x3f800000u, 0x00400000u, 0x7e000000u}) {
    float const scale = std::bit_cast<float>(pattern);
    matrix<cull::nvfp4_modelopt> const source{{codes.data(), scales.data(), scale, 48, 2}, 1, 48};
    auto const converted = cull::convert_dialect<compressed_tensors>(source);
    CHECK(converted.parts.codes == codes.data());
    CHECK(converted.parts.scales == scales.data());
    CHECK(converted.parts.cols == 48);
    CHECK(converted.parts.row_step == 2);
    CHECK(converted.rows == 1);
    CHECK(converted.cols == 48);
    CHECK(converted.parts.tensor_scale == 1.0f / scale);
    auto const plain = cull::convert_dialect<modelopt>(converted);
    CHECK((bits(plain.parts.tensor_scale) == pattern) == cull::returns_from_reciprocal(scale));
    CHECK(bits(cull::convert_dialect<modelopt>(converted, scale).parts.tensor_scale) == pattern);
  }
  CHECK(bits(1.0f / std::bit_cast<float>(0x38b50913u)) == 0x463500d4u);
  CHECK(!cull::returns_from_reciprocal(std::bit_cast<float>(0x38b50913u)));
}

TEST_CASE("convert_dialect: refuses scales without a partner and partners that are none") {
  auto const converted = [](float scale, std::optional<float> given = {}) {
    return refused([&] {
      cull::convert_dialect<compressed_tensors>(matrix<cull::nvfp4_modelopt>{{nullptr, nullptr, scale, 16}, 0, 16}, given);
    });
  };
  for (float const scale : {0.0f, -1.0f, NAN, INFINITY, 1e-39f}) CHECK(converted(scale) == errc::out_of_range);
  CHECK(converted(0.5f, 2.0f) == std::nullopt);
  for (float const given : {2.5f, 0.0f, NAN, INFINITY}) CHECK(converted(0.5f, given) == errc::out_of_range);
}

}  // namespace dialect_tests
