// SPDX-License-Identifier: Apache-2.0
// NVFP4 against modelopt's own bytes.
#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include <cull/tensor.hpp>

#include <support/safetensors_lite.hpp>

namespace nvfp4_tests {

namespace {

namespace fs = std::filesystem;
using test_support::tensor;

cull::matrix<cull::nvfp4_modelopt> view(tensor const& codes, tensor const& scales, float tensor_scale) {
  auto const rows = codes.shape[0], cols = codes.shape[1] * 2;
  return {{codes.bytes.data(), scales.bytes.data(), tensor_scale, cols}, rows, cols};
}

std::vector<fs::path> fixtures() {
  std::vector<fs::path> out;
  for (auto const& entry : fs::directory_iterator{fs::path{CULL_TEST_DATA} / "nvfp4"}) out.push_back(entry.path());
  return out;
}

struct differences {
  std::int64_t codes = 0, scales = 0, tensor_scales = 0;
};

/// Quantises `input` and counts bytes that are not modelopt's.
template <class T>
void compare_bytes(std::vector<T> const& input, std::map<std::string, tensor> const& file, std::string const& prefix, bool own,
                   int threads, differences& out) {
  auto const& codes = file.at(prefix + "weight");
  auto const& scales = file.at(prefix + "weight_scale");
  float const wanted = file.at(prefix + "weight_scale_2").as<float>()[0];
  auto const rows = codes.shape[0], cols = codes.shape[1] * 2;
  cull::nvfp4_buffer ours;
  auto const source = cull::matrix_view<T const>{input.data(), rows, cols};
  if (own) {
    cull::quantize(cull::on_cpu{threads}, cull::modelopt{}, source, ours);
  } else {
    cull::quantize(cull::on_cpu{threads}, cull::modelopt{}, source, ours, wanted);
  }
  REQUIRE(ours.codes.size() == codes.bytes.size());
  REQUIRE(ours.scales.size() == scales.bytes.size());
  for (std::size_t i = 0; i < ours.codes.size(); ++i) out.codes += ours.codes[i] != codes.bytes[i] ? 1 : 0;
  for (std::size_t i = 0; i < ours.scales.size(); ++i) out.scales += ours.scales[i] != scales.bytes[i] ? 1 : 0;
  out.tensor_scales += std::memcmp(&ours.tensor_scale, &wanted, sizeof wanted) != 0 ? 1 : 0;
}

template <class T>
std::vector<T> dequantized(cull::matrix<cull::nvfp4_modelopt> const& m, int threads) {
  std::vector<T> out(static_cast<std::size_t>(m.rows * m.cols));
  cull::dequantize(cull::on_cpu{threads}, m, cull::matrix_view<T>{out.data(), m.rows, m.cols});
  return out;
}

}  // namespace

TEST_CASE("quantize: modelopt's codes, block scales and tensor scale, own and shared, for every kind of input") {
  differences own, shared;
  int files = 0, shared_files = 0;
  for (auto const& path : fixtures()) {
    auto const file = test_support::read_safetensors(path.string());
    auto const& input = file.at("input");
    CAPTURE(path.filename().string());
    for (int const threads : {1, 3}) {
      if (input.dtype == "F32") {
        compare_bytes(input.as<float>(), file, "modelopt.", true, threads, own);
      } else {
        compare_bytes(input.as<cull::bf16>(), file, "modelopt.", true, threads, own);
      }
    }
    ++files;
    if (!file.contains("modelopt_shared.weight")) continue;
    compare_bytes(input.as<float>(), file, "modelopt_shared.", false, 2, shared);
    ++shared_files;
  }
  CHECK(files == 20);
  CHECK(shared_files == 10);
  CHECK(own.codes == 0);
  CHECK(own.scales == 0);
  CHECK(own.tensor_scales == 0);
  CHECK(shared.codes == 0);
  CHECK(shared.scales == 0);
}

TEST_CASE("dequantize: modelopt's numbers, f32 and bf16") {
  std::int64_t f32 = 0, bf16 = 0, values = 0;
  for (auto const& path : fixtures()) {
    auto const file = test_support::read_safetensors(path.string());
    auto const m =
        view(file.at("modelopt.weight"), file.at("modelopt.weight_scale"), file.at("modelopt.weight_scale_2").as<float>()[0]);
    auto const wanted = file.at("modelopt.dequantized.f32").as<float>();
    auto const wanted_narrow = file.at("modelopt.dequantized.bf16").as<cull::bf16>();
    auto const ours = dequantized<float>(m, 2);
    auto const narrow = dequantized<cull::bf16>(m, 1);
    REQUIRE(ours.size() == wanted.size());
    // As numbers: modelopt decodes code 8 to +0, the format says -0.
    for (std::size_t i = 0; i < wanted.size(); ++i, ++values) {
      f32 += ours[i] != wanted[i] ? 1 : 0;
      bf16 += narrow[i].decode() != wanted_narrow[i].decode() ? 1 : 0;
    }
  }
  CHECK(values == 20 * 48 * 272);
  CHECK(f32 == 0);
  CHECK(bf16 == 0);
}

TEST_CASE(
    "every expert of tiny-glm: dequantised and quantised again with its tensor scale, the bytes come back but code 8 is 0") {
  std::int64_t experts = 0, different = 0, negative_zeros = 0;
  std::map<std::string, tensor> model;
  for (auto const& entry : fs::directory_iterator{fs::path{CULL_TEST_DATA} / "tiny-glm/model"}) {
    if (entry.path().extension() == ".safetensors") model.merge(test_support::read_safetensors(entry.path().string()));
  }
  for (auto const& [name, codes] : model) {
    if (!model.contains(name + "_scale_2")) continue;
    auto const& scales = model.at(name + "_scale");
    float const tensor_scale = model.at(name + "_scale_2").as<float>()[0];
    auto const m = view(codes, scales, tensor_scale);
    auto const values = dequantized<float>(m, 1);
    cull::nvfp4_buffer again;
    cull::quantize(cull::on_cpu{1}, cull::modelopt{}, cull::matrix_view<float const>{values.data(), m.rows, m.cols}, again,
                   tensor_scale);
    ++experts;
    for (std::size_t i = 0; i < codes.bytes.size(); ++i) {
      unsigned wanted = codes.bytes[i];
      if ((wanted & 15u) == 8) wanted &= 0xf0u;
      if ((wanted >> 4) == 8) wanted &= 0x0fu;
      negative_zeros += wanted != codes.bytes[i] ? 1 : 0;
      different += again.codes[i] != wanted ? 1 : 0;
    }
    for (std::size_t i = 0; i < scales.bytes.size(); ++i) different += again.scales[i] != scales.bytes[i] ? 1 : 0;
  }
  CHECK(experts == 5 * 64 * 3);
  CHECK(negative_zeros > 0);
  CHECK(different == 0);
}

TEST_CASE("decode_group and outer_scale: code times block scale, exact in bf16, the tensor scale outside") {
  std::vector<std::uint8_t> codes, scales;
  for (int scale = 0; scale < 127; ++scale) {
    scales.push_back(static_cast<std::uint8_t>(scale));
    for (int pair = 0; pair < 8; ++pair) codes.push_back(static_cast<std::uint8_t>((2 * pair) | ((2 * pair + 1) << 4)));
  }
  cull::matrix<cull::nvfp4_modelopt> const m{{codes.data(), scales.data(), 3.0f, 16}, 127, 16};
  double const magnitudes[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  CHECK(cull::nvfp4_modelopt::outer_scale(m.parts) == 3.0f);
  for (int row = 0; row < 127; ++row) {
    float out[16];
    cull::nvfp4_modelopt::decode_group(m.parts, row, 0, out);
    double const scale = row / 8 == 0 ? row * 0x1p-9 : (8 + row % 8) * std::ldexp(1.0, row / 8 - 10);
    for (int code = 0; code < 16; ++code) {
      double const wanted = (code < 8 ? magnitudes[code] : -magnitudes[code - 8]) * scale;
      CHECK(static_cast<double>(out[code]) == wanted);
      CHECK(cull::bf16::encode(out[code]).decode() == out[code]);
    }
  }
}

TEST_CASE("quantize and dequantize: wrong use has its error") {
  auto const code = [](auto&& call) {
    try {
      call();
    } catch (cull::error const& problem) {
      return problem.code();
    }
    return cull::errc::cancelled;
  };
  cull::nvfp4_buffer out;
  std::vector<float> values(64, 1.0f);
  auto const quantize = [&](std::int64_t rows, std::int64_t cols, std::optional<float> scale = {}) {
    return code([&] {
      cull::quantize(cull::on_cpu{}, cull::modelopt{}, cull::matrix_view<float const>{values.data(), rows, cols}, out, scale);
    });
  };
  CHECK(quantize(2, 24) == cull::errc::shape_mismatch);
  for (float const scale : {-1.0f, NAN, INFINITY}) CHECK(quantize(2, 32, scale) == cull::errc::not_finite);
  for (float const bad : {NAN, INFINITY, -INFINITY}) {
    values[40] = bad;
    CHECK(quantize(2, 32) == cull::errc::not_finite);
    values[40] = 1;
  }
  CHECK(quantize(2, 32) == cull::errc::cancelled);
  std::vector<float> target(64);
  CHECK(code([&] {
          cull::dequantize(cull::on_cpu{}, out.view(), cull::matrix_view<float>{target.data(), 1, 32});
        }) == cull::errc::shape_mismatch);
  CHECK(code([&] {
          cull::dequantize(cull::on_cpu{}, out.view(), cull::matrix_view<float>{target.data(), 2, 16});
        }) == cull::errc::shape_mismatch);
  CHECK(quantize(0, 32) == cull::errc::cancelled);
}

}  // namespace nvfp4_tests
