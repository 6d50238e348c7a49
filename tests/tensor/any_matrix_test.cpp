// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <concepts>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include <cull/expert.hpp>
#include <cull/tensor.hpp>

namespace {

using cull::any_matrix;
using cull::bf16_format;
using cull::f32_format;
using cull::matrix;
using cull::nvfp4_modelopt;
using cull::weight_matrix;

static_assert(std::constructible_from<weight_matrix, matrix<f32_format>>);
static_assert(std::convertible_to<matrix<nvfp4_modelopt>, weight_matrix>);
static_assert(!std::constructible_from<any_matrix<bf16_format>, matrix<f32_format>>);
static_assert(!std::constructible_from<weight_matrix, matrix<f32_format, cull::device_memory>>);
static_assert(std::is_trivially_copyable_v<weight_matrix>);
static_assert(weight_matrix{}.rows() == 0 && weight_matrix{}.cols() == 0);

/// One matrix, 2 x 32, in every format of today's checkpoints; every value exists in all of them.
struct stored {
  stored() {
    for (int i = 0; i < 64; ++i) {
      int const code = i % 8 + (i % 3 == 0 ? 8 : 0);
      float const magnitudes[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};
      f32.push_back(magnitudes[i % 8] * (code >= 8 ? -0.5f : 0.5f));
      bf16.push_back(cull::bf16::encode(f32.back()));
      f16.push_back(cull::f16::encode(f32.back()));
      fp8.push_back(cull::e4m3::encode(f32.back() * 4).bits);
      if (i % 2 == 0) codes.push_back(0);
      codes.back() = static_cast<std::uint8_t>(codes.back() | (code << (4 * (i % 2))));
    }
  }
  weight_matrix as_nvfp4() const { return matrix<nvfp4_modelopt>{{codes.data(), scales.data(), 0.25f, 32}, 2, 32}; }
  weight_matrix as_compressed() const { return matrix<cull::nvfp4_compressed>{{codes.data(), scales.data(), 4.0f, 32}, 2, 32}; }
  weight_matrix as_mxfp4() const { return matrix<cull::mxfp4>{{codes.data(), powers.data(), 32}, 2, 32}; }
  weight_matrix as_fp8_block() const { return matrix<cull::fp8_block<>>{{fp8.data(), &quarter, 32, 1}, 2, 32}; }
  weight_matrix as_fp8_tensor() const { return matrix<cull::fp8_tensor>{{fp8.data(), 32, quarter}, 2, 32}; }
  weight_matrix as_bf16() const { return matrix<bf16_format>{{bf16.data(), 32}, 2, 32}; }
  weight_matrix as_f16() const { return matrix<cull::f16_format>{{f16.data(), 32}, 2, 32}; }
  weight_matrix as_f32() const { return matrix<f32_format>{{f32.data(), 32}, 2, 32}; }
  std::vector<weight_matrix> all() const {
    return {as_nvfp4(), as_compressed(), as_mxfp4(), as_fp8_block(), as_fp8_tensor(), as_bf16(), as_f16(), as_f32()};
  }

  std::vector<float> f32;
  std::vector<cull::bf16> bf16;
  std::vector<cull::f16> f16;
  std::vector<std::uint8_t> codes, fp8;
  std::vector<std::uint8_t> scales{0x40, 0x40, 0x40, 0x40};  // 2.0
  std::vector<std::uint8_t> powers{0x7e, 0x7e};              // 0.5
  float quarter = 0.25f;
};

std::string name(matrix<nvfp4_modelopt> const&) { return "nvfp4"; }
std::string name(matrix<cull::nvfp4_compressed> const&) { return "nvfp4, compressed-tensors"; }
std::string name(matrix<cull::mxfp4> const&) { return "mxfp4"; }
std::string name(matrix<cull::fp8_block<>> const&) { return "fp8 by block"; }
std::string name(matrix<cull::fp8_tensor> const&) { return "fp8 by tensor"; }
std::string name(matrix<bf16_format> const&) { return "bf16"; }
std::string name(matrix<cull::f16_format> const&) { return "f16"; }
std::string name(matrix<f32_format> const&) { return "f32"; }

std::string visited(weight_matrix const& m) {
  return m.visit([](auto const& held) { return name(held); });
}

}  // namespace

TEST_CASE("any_matrix: visits the matrix in the format it was given in") {
  stored const s;
  std::vector<std::string> names;
  for (auto const& m : s.all()) names.push_back(visited(m));
  CHECK(names == std::vector<std::string>{"nvfp4", "nvfp4, compressed-tensors", "mxfp4", "fp8 by block", "fp8 by tensor", "bf16",
                                          "f16", "f32"});
  CHECK(s.as_nvfp4().get_if<nvfp4_modelopt>()->parts.tensor_scale == 0.25f);
  CHECK(s.as_nvfp4().get_if<bf16_format>() == nullptr);
  CHECK(s.as_f32().get_if<f32_format>()->parts.data == s.f32.data());
  for (auto const& m : s.all()) {
    CHECK(m.rows() == 2);
    CHECK(m.cols() == 32);
  }
}

TEST_CASE("any_matrix: another matrix can take its place") {
  stored const s;
  weight_matrix m = s.as_bf16();
  m = s.as_f32();
  CHECK(visited(m) == "f32");
}

TEST_CASE("visit_matrix: one call for a known format and for any") {
  stored const s;
  auto const cols = [](auto const& m) { return m.cols; };
  CHECK(cull::visit_matrix(s.as_bf16(), cols) == 32);
  CHECK(cull::visit_matrix(*s.as_bf16().get_if<bf16_format>(), cols) == 32);
  int calls = 0;
  cull::visit_matrix(s.as_nvfp4(), [&](auto const& m) {
    ++calls;
    CHECK(name(m) == "nvfp4");
  });
  CHECK(calls == 1);
}

TEST_CASE("any_matrix: dequantises to the same numbers from every format") {
  stored const s;
  for (auto const& m : s.all()) {
    std::vector<float> out(64);
    cull::matrix_view<float> const target{out.data(), 2, 32};
    m.visit([&](auto const& held) { cull::dequantize(cull::on_cpu{}, held, target); });
    CHECK(out == s.f32);
  }
}

TEST_CASE("any_matrix: multiplies to the same numbers from every format") {
  stored const s;
  std::vector<float> x(32), expected(2);
  for (std::size_t i = 0; i < 32; ++i) x[i] = static_cast<float>(i) - 7.25f;
  for (std::size_t i = 0; i < 64; ++i) expected[i / 32] += x[i % 32] * s.f32[i];
  for (auto const& m : s.all()) {
    std::vector<float> y(2);
    cull::matrix_view<float const> const row{x.data(), 1, 32};
    cull::matmul(cull::on_cpu{}, row, m, cull::matrix_view<float>{y.data(), 1, 2});
    CHECK(y == expected);
  }
}
