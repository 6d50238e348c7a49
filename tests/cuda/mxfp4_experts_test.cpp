// SPDX-License-Identifier: Apache-2.0
// MXFP4 experts on the device's kernels, run on the host: against f64, alone and in company, interleaved as GPT-OSS stores them.
#include <cmath>
#include <cstring>
#include <utility>

#include <doctest/doctest.h>

#include "experts_support.hpp"

namespace mxfp4_experts_tests {

using namespace cuda_tests;
using simt_test::device_array;
using simt_test::on_simt;

namespace {

template <class Precision>
std::vector<float> run(std::vector<device_expert<cull::mxfp4>> const& experts, batch const& b,
                       simt_test::launch_options const& o = {}) {
  device_array<float> const x{b.x}, weights{b.weights}, outputs{static_cast<std::size_t>(b.tokens * b.k * b.hidden)};
  device_array<std::int32_t> const ids{b.ids};
  cull::run_experts<Precision>(on_simt{o}, std::span{experts}, x.view(b.tokens, b.hidden),
                               cull::routing<cull::device_memory>{ids.view(b.tokens, b.k), weights.view(b.tokens, b.k)},
                               outputs.view(b.tokens * b.k, b.hidden), cull::clamped_swiglu{});
  return outputs.host();
}

}  // namespace

TEST_CASE_TEMPLATE("a block of codes is decoded exactly, for every scale and code", Decoder, cull::simt::mxfp4_decoder,
                   cull::simt::mxfp4_quick_decoder) {
  constexpr double values[] = {0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0};
  for (unsigned scale = 0; scale < 256; ++scale) {
    for (std::uint8_t const other :
         std::array<std::uint8_t, 3>{0x00, 0x7f, 0xff}) {  // beside it: with small scales alone, or with great ones too
      auto const mine = static_cast<std::uint8_t>(scale);
      for (unsigned code = 0; code < 16; ++code) {
        double const expect = std::ldexp(code < 8 ? values[code] : -values[code - 8], static_cast<int>(scale) - 127);
        auto const check = [&](std::array<float, 8> const& decoded) {
          for (float const value : decoded) {
            auto const got = static_cast<double>(value);
            bool const right = scale == 255                   ? std::isnan(got)
                               : std::abs(expect) >= 0x1p+128 ? std::isinf(got) && std::signbit(got) == std::signbit(expect)
                                                              : got == expect;
            if (!right) FAIL("scale ", scale, " beside ", other, " code ", code, ": ", got);
          }
        };
        auto const codes = code * 0x11111111u;
        for (unsigned at = 0; at < 8; ++at) {
          check(decoded_in_turn<Decoder>(codes, mine, other, static_cast<int>(scale % 4), at % 4, at / 4));
        }
        if constexpr (std::is_same_v<Decoder, cull::simt::mxfp4_decoder>) {
          check(decoded_by_rows<Decoder>(codes, mine, other, scale % 2 != 0));
        }
      }
    }
  }
}

TEST_CASE_TEMPLATE("within the bound of f64, in every order, with the bits of padded experts, with biases", Kernel,
                   cull::f32_precision, cull::bf16_precision, cull::latency<cull::f32_precision>,
                   cull::latency<cull::bf16_precision>) {
  using precision = typename cull::detail::policy_of<Kernel>::precision;
  constexpr std::size_t parts = cull::detail::bf16_parts<precision>;
  double const alpha = static_cast<double>(1.702f);
  activation_f64 const plain{[=](double g) { return std::min(g, 7.0) / (1.0 + std::exp(-alpha * std::min(g, 7.0))); },
                             [](double u) { return std::clamp(u, -7.0, 7.0) + 1.0; }};
  struct shape {
    int hidden, width;
  };
  for (auto const s : {shape{32, 32}, shape{64, 128}, shape{96, 160}, shape{544, 64}, shape{1088, 32}}) {
#if defined(CULL_SANITIZED)
    if (s.hidden != 96) continue;
#endif
    CAPTURE(s.hidden);
    layer<cull::mxfp4> l{2, s.hidden, s.width};
    batch const b{5, s.hidden, 1, 2};
    auto const padded = l.padded();
    auto const whole = run<Kernel>(padded.device(), b.padded(padded.hidden));
    auto const bare = run<Kernel>(l.device(), b);
    for (std::int64_t t = 0; t < b.tokens; ++t) {
      CHECK(std::memcmp(bare.data() + t * s.hidden, whole.data() + t * padded.hidden, static_cast<std::size_t>(s.hidden) * 4) ==
            0);
    }
    l.add_biases();
    auto const got = run<Kernel>(l.device(), b);
    simt_test::race_detector races;
    CHECK(run<Kernel>(l.device(), b, {.seed = 3, .watch = {.races = &races}}) == got);
    for (std::int64_t t = 0; t < b.tokens; ++t) {
      auto const x = b.x.begin() + t * b.hidden;
      auto const expect = reference<precision, cull::mxfp4>(
          l.experts[static_cast<std::size_t>(b.ids[static_cast<std::size_t>(t)])], {x, x + b.hidden},
          [](std::size_t k) { return static_cast<double>(parts * k) * 0x1p-24 * 1.01; }, plain);
      for (std::int64_t h = 0; h < b.hidden; ++h) {
        auto const [value, error] = expect[static_cast<std::size_t>(h)];
        double const off = std::abs(static_cast<double>(got[static_cast<std::size_t>(t * b.hidden + h)]) - value);
        if (!(off <= error)) FAIL("token ", t, " column ", h, ": off by ", off, " of ", error);
      }
    }
  }
}

TEST_CASE("gate and up interleaved are gate and up; norms are those of the outputs") {
  layer<cull::mxfp4> const l{1, 96, 96};
  auto const& e = l.experts[0];
  auto const interleaved = [](std::vector<std::uint8_t> const& a, std::vector<std::uint8_t> const& b, std::ptrdiff_t row) {
    std::vector<std::uint8_t> out;
    for (std::ptrdiff_t at = 0; at < std::ssize(a); at += row) {
      out.insert(out.end(), a.begin() + at, a.begin() + at + row);
      out.insert(out.end(), b.begin() + at, b.begin() + at + row);
    }
    return out;
  };
  device_array<std::uint8_t> const codes{interleaved(e.gate.codes, e.up.codes, 48)},
      scales{interleaved(e.gate.scales, e.up.scales, 3)};
  auto fused = l.device();
  fused[0].gate.parts = {codes.data(), scales.data(), 96, 2};
  fused[0].up.parts = {codes.data() + 48, scales.data() + 3, 96, 2};
  batch const b{6, 96, 1, 1};
  auto const got = run<cull::bf16_precision>(fused, b);
  CHECK(got == run<cull::bf16_precision>(l.device(), b));

  device_array<float> const x{b.x}, weights{b.weights};
  device_array<std::int32_t> const ids{b.ids};
  device_array<double> const norms{6};
  cull::expert_norms<cull::bf16_precision>(on_simt{}, std::span{std::as_const(fused)}, x.view(6, 96),
                                           cull::routing<cull::device_memory>{ids.view(6, 1), weights.view(6, 1)},
                                           norms.view(6, 1), cull::clamped_swiglu{});
  for (std::size_t t = 0; t < 6; ++t) {
    double squares = 0;
    for (std::size_t h = 0; h < 96; ++h) squares += std::pow(static_cast<double>(got[t * 96 + h]), 2);
    CHECK(norms.host()[t] == doctest::Approx(std::sqrt(squares)).epsilon(14 * 0x1p-24));
  }
}

TEST_CASE("rows that are no whole blocks are refused") {
  layer<cull::mxfp4> const l{1, 48, 32};
  CHECK_THROWS_WITH_AS(run<cull::f32_precision>(l.device(), batch{1, 48, 1, 1}), doctest::Contains("multiples of 32"),
                       cull::error);
}

}  // namespace mxfp4_experts_tests
