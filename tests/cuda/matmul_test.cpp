// SPDX-License-Identifier: Apache-2.0
// matmul and expert_mlp on the device's kernels, run on the host: against f64, alone and in company, every shape.
#include <cmath>
#include <cstring>
#include <utility>

#include <doctest/doctest.h>
#include <cull/cuda/expert_mlp.hpp>
#include <cull/cuda/matmul.hpp>

#include "experts_support.hpp"

using namespace cuda_tests;
using simt_test::device_array;
using simt_test::on_simt;

namespace {

template <class Policy, class Dialect>
std::vector<float> product(random_matrix<Dialect> const& w, std::vector<float> const& x,
                           simt_test::launch_options const& o = {}) {
  auto const tokens = std::ssize(x) / w.cols;
  device_array<float> const in{x}, out{std::vector<float>(static_cast<std::size_t>(tokens * (w.rows + 1)), -7.0f)};
  cull::matmul<Policy>(on_simt{o}, in.view(tokens, w.cols), w.device(),
                       cull::matrix_view<float, cull::device_memory>{out.data(), tokens, w.rows, w.rows + 1});
  return out.host();
}

template <class Policy, class Dialect>
void check_product(std::int64_t tokens, std::int64_t rows, std::int64_t cols) {
  using precision = typename cull::detail::policy_of<Policy>::precision;
  CAPTURE(tokens);
  CAPTURE(rows);
  CAPTURE(cols);
  std::mt19937 random{11};
  random_matrix<Dialect> const w{rows, cols, random};
  auto const x = batch{tokens, cols, 1, 1}.x;
  simt_test::race_detector races;
  auto const got = product<Policy>(w, x, {.seed = 3, .watch = {.races = &races}});
  CHECK(got == product<Policy>(w, x));
  auto const values = w.values();
  double const bound = static_cast<double>(cull::detail::bf16_parts<precision> * cols) * 0x1p-24 * 1.01;
  double worst = 0;
  for (std::int64_t t = 0; t < tokens; ++t) {
    auto const alone = product<Policy>(w, {x.begin() + t * cols, x.begin() + (t + 1) * cols});
    CHECK(std::memcmp(alone.data(), got.data() + t * (rows + 1), static_cast<std::size_t>(rows) * 4) == 0);
    for (std::int64_t n = 0; n < rows; ++n) {
      double sum = 0, magnitude = 0;
      for (std::int64_t i = 0; i < cols; ++i) {
        auto const p = values[static_cast<std::size_t>(n * cols + i)] *
                       static_cast<double>(precision::activation(x[static_cast<std::size_t>(t * cols + i)]));
        sum += p;
        magnitude += std::abs(p);
      }
      double const off = std::abs(static_cast<double>(got[static_cast<std::size_t>(t * (rows + 1) + n)]) - sum);
      double const allowed = bound * magnitude + 0x1p-24 * std::abs(sum);
      if (!(off <= allowed)) FAIL("token ", t, " row ", n, ": off by ", off, " of ", allowed);
      worst = std::max(worst, allowed > 0 ? off / allowed : 0.0);
    }
    CHECK(got[static_cast<std::size_t>(t * (rows + 1) + rows)] == -7.0f);  // beyond a row of y
  }
  CHECK(worst > 0);
}

}  // namespace

TEST_CASE_TEMPLATE("matmul: within the bound of f64, rows of any number, tokens alone and in company", Policy,
                   cull::f32_precision, cull::bf16_precision, cull::latency<cull::f32_precision>,
                   cull::latency<cull::bf16_precision>) {
  check_product<Policy, cull::modelopt>(3, 17, 80);
#if !defined(CULL_SANITIZED)
  check_product<Policy, cull::modelopt>(9, 192, 128);
  check_product<Policy, cull::compressed_tensors>(2, 130, 16);
  check_product<Policy, cull::mxfp4>(3, 129, 96);
#endif
}

TEST_CASE("matmul: two tiles of tokens; latency has the bits of throughput; what does not fit is refused") {
  std::mt19937 random{2};
  random_matrix<cull::modelopt> const w{5, 64, random};
  auto const x = batch{66, 64, 1, 1}.x;
  auto const got = product<cull::f32_precision>(w, x);
  CHECK(got == product<cull::latency<cull::f32_precision>>(w, x));
  device_array<float> const in{x}, out{66 * 6};
  CHECK_THROWS_AS(cull::matmul(on_simt{}, in.view(66, 64), w.device(), out.view(66, 6)), cull::error);
  auto off = w.device();
  off.parts.codes += 4;
  CHECK_THROWS_WITH_AS(cull::matmul(on_simt{}, in.view(66, 64), off, out.view(66, 5)), doctest::Contains("aligned to 8"),
                       cull::error);
  cull::matmul(on_simt{}, in.view(0, 64), w.device(), out.view(0, 5));
}

TEST_CASE_TEMPLATE("expert_mlp: the bits of run_experts, within the bound of f64", Dialect, cull::modelopt, cull::mxfp4) {
  layer<Dialect> l{1, 96, 160};
  l.add_biases();
  batch const b{3, 96, 1, 1};
  device_array<float> const x{b.x}, weights{b.weights}, outputs{3 * 96}, y{3 * 96};
  device_array<std::int32_t> const ids{b.ids};
  auto const experts = l.device();
  cull::run_experts(on_simt{}, std::span{std::as_const(experts)}, x.view(3, 96),
                    cull::routing<cull::device_memory>{ids.view(3, 1), weights.view(3, 1)}, outputs.view(3, 96));
  cull::expert_mlp(on_simt{}, experts[0], x.view(3, 96), y.view(3, 96));
  CHECK(y.host() == outputs.host());
  for (std::int64_t t = 0; t < 3; ++t) {
    auto const expect =
        reference<cull::f32_precision, Dialect>(l.experts[0], {b.x.begin() + t * 96, b.x.begin() + (t + 1) * 96},
                                                [](std::size_t k) { return static_cast<double>(3 * k) * 0x1p-24 * 1.01; });
    for (std::int64_t h = 0; h < 96; ++h) {
      CHECK(std::abs(static_cast<double>(y.host()[static_cast<std::size_t>(t * 96 + h)]) -
                     expect[static_cast<std::size_t>(h)].value) <= expect[static_cast<std::size_t>(h)].error);
    }
  }
  CHECK_THROWS_WITH_AS(cull::expert_mlp(on_simt{}, experts[0], x.view(3, 96), y.view(2, 96)), doctest::Contains("y 2 x 96"),
                       cull::error);
}
