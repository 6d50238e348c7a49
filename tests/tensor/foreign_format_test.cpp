// SPDX-License-Identifier: Apache-2.0
// Formats of other programs, written here as a user would write them, against those programs' own answers.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <cull/expert.hpp>
#include <cull/numeric.hpp>
#include <cull/tensor.hpp>

#include <support/safetensors_lite.hpp>

namespace foreign_format_tests {

namespace {

using cull::matrix;
using cull::matrix_format;
using cull::matrix_view;
using cull::on_cpu;
using test_support::tensor;
using tensors = std::map<std::string, tensor>;

/// MXFP4: e2m1 codes, one power of two per 32 columns, no scale of the tensor.
struct mxfp4 {
  struct parts {
    unsigned char const* codes;
    unsigned char const* scales;
    std::int64_t cols;
  };
  static constexpr std::int64_t group = 32;
  static void decode_group(parts const& p, std::int64_t row, std::int64_t g, float* out) noexcept {
    float const scale = cull::e8m0{p.scales[row * (p.cols / 32) + g]}.decode();
    for (int i = 0; i < 32; ++i) {
      unsigned const pair = p.codes[row * (p.cols / 2) + g * 16 + i / 2];
      out[i] = cull::e2m1{static_cast<std::uint8_t>(i % 2 == 0 ? pair & 15 : pair >> 4)}.decode() * scale;
    }
  }
  static float outer_scale(parts const&) noexcept { return 1; }
};

/// compressed-tensors' dialect of NVFP4: the tensor's scale is a divisor.
struct compressed_tensors {
  static float block_multiplier(float block_scale, float divisor) noexcept { return block_scale / divisor; }
  static float outer_scale(float divisor) noexcept { return 1 / divisor; }
};

/// GGUF's NVFP4: 36 bytes per 64 columns, four scales and then the codes of each 16, element j beside element j + 8.
struct gguf_nvfp4 {
  struct parts {
    unsigned char const* blocks;
    std::int64_t cols;
    float scale;
  };
  static constexpr std::int64_t group = 64;
  static void decode_group(parts const& p, std::int64_t row, std::int64_t g, float* out) noexcept {
    unsigned char const* const block = p.blocks + 36 * (row * (p.cols / 64) + g);
    for (int i = 0; i < 64; ++i) {
      unsigned const pair = block[4 + 8 * (i / 16) + i % 8];
      auto const code = static_cast<std::uint8_t>(i % 16 < 8 ? pair & 15 : pair >> 4);
      out[i] = cull::e2m1{code}.decode() * cull::e4m3{block[i / 16]}.decode();
    }
  }
  static float outer_scale(parts const& p) noexcept { return p.scale; }
};

using nvfp4_compressed_tensors = cull::nvfp4<compressed_tensors>;
static_assert(matrix_format<mxfp4> && matrix_format<nvfp4_compressed_tensors> && matrix_format<gguf_nvfp4>);

struct may_throw : mxfp4 {
  static void decode_group(parts const&, std::int64_t, std::int64_t, float*) {}
};
struct without_outer_scale {
  using parts = mxfp4::parts;
  static constexpr std::int64_t group = 32;
  static void decode_group(parts const&, std::int64_t, std::int64_t, float*) noexcept {}
};
struct owns_its_bytes : mxfp4 {
  struct parts {
    std::vector<unsigned char> codes;
  };
  static void decode_group(parts const&, std::int64_t, std::int64_t, float*) noexcept {}
  static float outer_scale(parts const&) noexcept { return 1; }
};
static_assert(!matrix_format<may_throw> && !matrix_format<without_outer_scale>);
static_assert(!matrix_format<owns_its_bytes> && !matrix_format<int>);

std::vector<tensors> fixtures() {
  std::vector<tensors> out;
  for (auto const& entry : std::filesystem::directory_iterator{CULL_TEST_DATA "/nvfp4"}) {
    out.push_back(test_support::read_safetensors(entry.path().string()));
  }
  return out;
}

template <class F>
std::vector<float> dequantized(matrix<F> const& m) {
  std::vector<float> out(static_cast<std::size_t>(m.rows * m.cols));
  cull::dequantize(on_cpu{2}, m, matrix_view<float>{out.data(), m.rows, m.cols});
  return out;
}

std::vector<float> activations(std::int64_t tokens, std::int64_t cols) {
  std::vector<float> out;
  for (std::int64_t i = 0; i < tokens * cols; ++i) out.push_back(std::sin(static_cast<float>(i) * 1.7f));
  return out;
}

template <class F>
std::vector<float> product(std::vector<float> const& x, std::int64_t tokens, matrix<F> const& w) {
  std::vector<float> y(static_cast<std::size_t>(tokens * w.rows));
  cull::matmul(on_cpu{2, cull::isa::portable}, matrix_view<float const>{x.data(), tokens, w.cols}, w,
               matrix_view<float>{y.data(), tokens, w.rows});
  return y;
}

/// Products of x with `values` (without `outer`), each within half a step of f32 and what 53 bits lose on the way.
template <class F>
void check_product(matrix<F> const& w, std::vector<float> const& values, float outer) {
  std::int64_t const tokens = 3;
  auto const x = activations(tokens, w.cols);
  auto const y = product(x, tokens, w);
  int wrong = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    std::size_t const cols = static_cast<std::size_t>(w.cols), t = i / static_cast<std::size_t>(w.rows);
    std::size_t const row = i % static_cast<std::size_t>(w.rows);
    long double sum = 0, size = 0;
    for (std::size_t k = 0; k < cols; ++k) {
      auto const term = static_cast<long double>(x[t * cols + k]) * static_cast<long double>(values[row * cols + k]);
      sum += term;
      size += std::fabs(term);
    }
    long double const exact = sum * static_cast<long double>(outer);
    long double const lost = static_cast<long double>(outer) * size * static_cast<long double>(w.cols) * 0x1p-53L;
    long double const allowed = std::fabs(exact) * 0x1.0001p-24L + lost + 0x1p-150L;
    wrong += !(std::fabs(static_cast<long double>(y[i]) - exact) <= allowed);
  }
  CHECK(wrong == 0);
}

/// The first 256 columns of a modelopt tensor in GGUF's order: the same codes and scales.
std::vector<unsigned char> regrouped(tensor const& codes, tensor const& scales) {
  std::vector<unsigned char> out;
  for (std::size_t row = 0; row < 48; ++row) {
    for (std::size_t super = 0; super < 4; ++super) {
      for (std::size_t b = 0; b < 4; ++b) out.push_back(scales.bytes[row * 17 + super * 4 + b]);
      for (std::size_t b = 0; b < 32; ++b) {
        auto const nibble = [&](std::size_t element) {
          unsigned const pair = codes.bytes[row * 136 + super * 32 + b / 8 * 8 + element / 2];
          return element % 2 == 0 ? pair & 15 : pair >> 4;
        };
        out.push_back(static_cast<unsigned char>(nibble(b % 8) | (nibble(b % 8 + 8) << 4)));
      }
    }
  }
  return out;
}

}  // namespace

TEST_CASE("MXFP4 as a user's format: modelopt's numbers, and the product with them") {
  int files = 0;
  for (auto const& file : fixtures()) {
    auto const& codes = file.at("mxfp4.weight");
    auto const expected = file.at("mxfp4.dequantized.f32").as<float>();
    matrix<mxfp4> const m{{codes.bytes.data(), file.at("mxfp4.weight_scale").bytes.data(), 256}, 48, 256};
    CHECK(dequantized(m) == expected);
    if (std::all_of(expected.begin(), expected.end(), [](float v) { return std::fabs(v) < 1e30f; })) {
      check_product(m, expected, 1.0f);
    }
    ++files;
  }
  CHECK(files == 20);
}

TEST_CASE("compressed-tensors' NVFP4 as a user's dialect: its own numbers") {
  int files = 0;
  for (auto const& file : fixtures()) {
    if (!file.contains("compressed_tensors.weight_packed")) continue;
    auto const& codes = file.at("compressed_tensors.weight_packed");
    auto const& scales = file.at("compressed_tensors.weight_scale");
    float const divisor = file.at("compressed_tensors.weight_global_scale").as<float>().at(0);
    matrix<nvfp4_compressed_tensors> const m{{codes.bytes.data(), scales.bytes.data(), divisor, 272}, 48, 272};
    CHECK(dequantized(m) == file.at("compressed_tensors.dequantized.f32").as<float>());
    ++files;
  }
  CHECK(files == 10);
}

TEST_CASE("GGUF's NVFP4 as a user's format: products have the bits of the same numbers stored by modelopt") {
  for (auto const& file : fixtures()) {
    auto const& codes = file.at("modelopt.weight");
    auto const& scales = file.at("modelopt.weight_scale");
    float const tensor_scale = file.at("modelopt.weight_scale_2").as<float>().at(0);
    auto const blocks = regrouped(codes, scales);
    matrix<gguf_nvfp4> const theirs{{blocks.data(), 256, tensor_scale}, 48, 256};
    matrix<cull::nvfp4_modelopt> const ours{{codes.bytes.data(), scales.bytes.data(), tensor_scale, 272}, 48, 272};
    std::vector<float> narrow = activations(2, 256), wide;
    for (std::size_t t = 0; t < 2; ++t) {
      wide.insert(wide.end(), &narrow[t * 256], &narrow[t * 256] + 256);
      wide.insert(wide.end(), 16, 0.0f);
    }
    CHECK(product(narrow, 2, theirs) == product(wide, 2, ours));
    auto unscaled = theirs;
    unscaled.parts.scale = 1;
    check_product(theirs, dequantized(unscaled), tensor_scale);
  }
}

TEST_CASE("GGUF's NVFP4 as a user's format: bytes by hand") {
  std::vector<unsigned char> block{0x38, 0x40, 0x00, 0x7e};
  block.insert(block.end(), {0x00, 0x91, 0xa2, 0xb3, 0xc4, 0xd5, 0xe6, 0xf7});
  block.resize(36, 0x12);
  auto const out = dequantized(matrix<gguf_nvfp4>{{block.data(), 64, 0.5f}, 1, 64});
  float const magnitudes[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
  for (std::size_t i = 0; i < 8; ++i) {
    CHECK(out[i] == magnitudes[i] / 2);
    CHECK(out[8 + i] == -magnitudes[i] / 2);
    CHECK(out[16 + i] == 1.0f);
    CHECK(out[24 + i] == 0.5f);
    CHECK(out[32 + i] == 0.0f);
    CHECK(out[48 + i] == 224.0f);
    CHECK(out[56 + i] == 112.0f);
  }
}

}  // namespace foreign_format_tests
