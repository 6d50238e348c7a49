// SPDX-License-Identifier: Apache-2.0
// Products in fixed point: the digits of every value, the order of summation written down naively, and what is left to others.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>
#include <vector>

#include <cull/expert.hpp>

#include "expert/matrices.hpp"
#include "support/levels.hpp"

namespace fixed_point_tests {

namespace {

using cull::bf16_format;
using cull::bf16_precision;
using cull::f32_format;
using cull::f32_precision;
using cull::latency;
using cull::nvfp4_modelopt;
using expert_test::empty_tokens;
using expert_test::made;
using expert_test::random_tokens;
using expert_test::stored;
using expert_test::tokens_block;

template <class Policy, class F>
tokens_block multiplied(cull::on_cpu const& exec, tokens_block const& x, cull::matrix<F> const& w) {
  auto y = empty_tokens(x.tokens, w.rows);
  cull::matmul<Policy>(exec, x.view(), w, y.view());
  return y;
}

std::vector<cull::isa> levels_of_kernels() {
  auto out = test_support::levels();
  out.erase(out.begin());  // portable
  return out;
}

/// Tokens whose blocks of 16 lie many octaves apart and hold outliers.
tokens_block uneven_tokens(std::int64_t tokens, std::int64_t cols, unsigned seed) {
  auto out = random_tokens(tokens, cols, seed);
  expert_test::source from{seed + 1};
  for (std::size_t i = 0; i < out.values.size(); ++i) {
    if (from.bits() % 16 == 0) out.values[i] *= 1000.0f;
    out.values[i] = std::ldexp(out.values[i], static_cast<int>(i / 16 % 40) - 20);
  }
  return out;
}

/// The rule of `latency`, by its words: of each block of 16 the least power of two above all values, which rounded to 2^-bits of
/// it stay below what signed digits hold.
struct fixed_block {
  int exponent = -90;
  std::int64_t values[16] = {};

  fixed_block(float const* x, int bits) {
    std::int64_t const highest = bits == 23 ? 0x7f7f7f : 0x7f7f;
    for (; !fits(x, bits, highest); ++exponent) {
    }
  }

 private:
  bool fits(float const* x, int bits, std::int64_t highest) {
    bool all = true;
    for (int i = 0; i < 16; ++i) {
      auto const scaled = std::nearbyint(std::ldexp(static_cast<double>(x[i]), bits - exponent));
      all = all && std::abs(scaled) <= static_cast<double>(highest) && std::abs(x[i]) < std::ldexp(1.0, exponent);
      if (all) values[i] = static_cast<std::int64_t>(scaled);
    }
    return all;
  }
};

/// Lane b % 8 / 2 * 4 + b % 16 / 8 * 2 + b % 2 adds block b's exact sum times its scale and unit by FMA, blocks ascending; lanes
/// v[4L + j] are added over L, (v0 + v2) + (v1 + v3), then over j likewise.
float ordered_product(float const* x, stored const& w, std::int64_t n, int bits) {
  static constexpr int twice[] = {0, 1, 2, 3, 4, 6, 8, 12};
  float lane[16] = {};
  for (std::int64_t b = 0; b < w.cols / 16; ++b) {
    fixed_block const block{x + 16 * b, bits};
    std::int64_t sum = 0;
    for (std::int64_t i = 0; i < 16; ++i) {
      auto const at = static_cast<std::size_t>(n * w.cols + 16 * b + i);
      unsigned const code = w.bytes[at / 2] >> at % 2 * 4 & 15u;
      sum += (code < 8 ? 1 : -1) * twice[code % 8] * block.values[i];
    }
    auto const scale = static_cast<float>(expert_test::e4m3_value(w.scales[static_cast<std::size_t>(n * w.cols / 16 + b)]));
    auto& to = lane[b % 8 / 2 * 4 + b % 16 / 8 * 2 + b % 2];
    to = std::fma(static_cast<float>(sum), std::ldexp(scale, block.exponent - bits - 1), to);
  }
  float quarter[4];
  for (int j = 0; j < 4; ++j) quarter[j] = (lane[j] + lane[8 + j]) + (lane[4 + j] + lane[12 + j]);
  return (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
}

template <class Policy>
std::int64_t outputs_in_another_order(tokens_block const& y, tokens_block const& x, stored const& w) {
  bool const rounded = std::is_base_of_v<bf16_precision, Policy>;
  std::int64_t other = 0;
  for (std::int64_t t = 0; t < x.tokens; ++t) {
    std::vector<float> row{x.view().row(t).begin(), x.view().row(t).end()};
    for (auto& v : row) v = rounded ? expert_test::nearest_bf16(v) : v;
    for (std::int64_t n = 0; n < w.rows; ++n) {
      double const sum = ordered_product(row.data(), w, n, rounded ? 15 : 23);
      other += y.at(t, n) != static_cast<float>(sum * static_cast<double>(w.outer)) ? 1 : 0;
    }
  }
  return other;
}

template <int Digits>
cull::detail::fixed_point_unit<Digits> encoded(std::vector<float> const& x) {
  cull::detail::fixed_point_unit<Digits> out;
  for (std::int64_t b = 0; b < 16; ++b) cull::detail::block_encoder<Digits>::run(x.data() + 16 * b, b, out);
  return out;
}

/// Whole numbers [-highest, highest], fifteen to a block beside one that sets its unit to 1.
template <int Digits>
std::int64_t wrong_digits(std::int64_t highest) {
  std::int64_t wrong = 0, next = -highest;
  while (next <= highest) {
    std::vector<float> x(256);
    for (std::size_t i = 0; i < 256; ++i) x[i] = static_cast<float>(i % 16 == 5 || next > highest ? highest : next++);
    auto const unit = encoded<Digits>(x);
    for (int b = 0; b < 16; ++b) {
      auto const lane = unit.lane(b);
      std::int64_t sum = 0;
      for (int i = 0; i < 16; ++i) {
        auto const wanted = static_cast<std::int64_t>(x[static_cast<std::size_t>(16 * b + i)]);
        wrong += unit.value(lane, i) != wanted ? 1 : 0;
        sum += wanted;
      }
      wrong += unit.corrections[lane] != -12 * sum ? 1 : 0;
      wrong += unit.units[lane] != 0x1p7f ? 1 : 0;  // half of 1, for doubled codes, times 2^8, for scales times 2^-8
    }
  }
  return wrong;
}

}  // namespace

TEST_CASE("fixed point: every value has its digits, its correction and its unit") {
  CHECK(wrong_digits<2>(0x7f7f) == 0);
  CHECK(wrong_digits<3>(0x7f7f7f) == 0);
}

TEST_CASE("fixed point: values around each power of two get the least unit that holds them, ties go to even") {
  for (int exponent = -149; exponent < 128; ++exponent) {
    for (float const factor : {1.0f, 1.5f, 0x1.fefefcp0f, 0x1.fefefep0f, 0x1.fefffep0f, 0x1.fffffep0f, 1.0f + 0x1p-23f}) {
      std::vector<float> x(256);
      for (std::size_t i = 0; i < x.size(); ++i)
        x[i] = std::ldexp(factor, exponent - static_cast<int>(i % 16)) * (i % 3 ? 1 : -1);
      auto const unit = encoded<3>(x);
      fixed_block const wanted{x.data(), 23};
      std::int64_t other = 0;
      for (int i = 0; i < 16; ++i) other += unit.value(0, i) != wanted.values[i] ? 1 : 0;
      CAPTURE(exponent);
      CHECK(other == 0);
      CHECK(unit.units[0] == std::ldexp(1.0f, wanted.exponent - 24 + 8));
    }
  }
}

TEST_CASE_TEMPLATE("latency: the order of summation, to the bit, on every kernel, alone and in company", Policy,
                   latency<f32_precision>, latency<bf16_precision>) {
  for (auto const level : levels_of_kernels()) {
    for (std::int64_t const cols : {16, 48, 128, 240, 256, 272, 528, 1024, 2064}) {
      for (std::int64_t const rows : {1, 2, 3, 4, 5, 9}) {
        auto const w = made<nvfp4_modelopt>::weights(rows, cols, 71);
        auto const x = uneven_tokens(3, cols, 72);
        auto const y = multiplied<Policy>({2, level}, x, made<nvfp4_modelopt>::view(w));
        CHECK(outputs_in_another_order<Policy>(y, x, w) == 0);
        auto alone = empty_tokens(1, rows);
        cull::matmul<Policy>(cull::on_cpu{1, level}, x.view().rows(1, 1), made<nvfp4_modelopt>::view(w), alone.view());
        CHECK(expert_test::same_bits(alone.view().row(0), y.view().row(1)));
      }
    }
  }
}

TEST_CASE("latency: every code beside every block scale, negative ones and NaN among them") {
  // Row n has scale n in its first block, in its last or in all; 16 codes in each block, turned by the row's number.
  for (auto const level : levels_of_kernels()) {
    for (int const place : {0, 1, 2}) {
      constexpr std::int64_t cols = 288, blocks = cols / 16;
      stored w = made<nvfp4_modelopt>::weights(256, cols, 73);
      for (std::size_t i = 0; i < w.bytes.size(); ++i) {
        auto const first = (2 * i + i / (cols / 2)) % 16;
        w.bytes[i] = static_cast<unsigned char>(first | (first + 1) % 16 << 4);
      }
      for (std::int64_t n = 0; n < 256; ++n) {
        for (std::int64_t b = 0; b < blocks; ++b) {
          if (place == 2 || b == place * (blocks - 1))
            w.scales[static_cast<std::size_t>(n * blocks + b)] = static_cast<std::uint8_t>(n);
        }
      }
      auto const x = uneven_tokens(1, cols, 74);
      auto const y = multiplied<latency<f32_precision>>({1, level}, x, made<nvfp4_modelopt>::view(w));
      std::int64_t other = 0;
      for (std::int64_t n = 0; n < 256; ++n) {
        if (n % 128 == 127) {
          other += std::isnan(y.at(0, n)) ? 0 : 1;
          continue;
        }
        // A negative scale is a positive one with all its codes' signs turned.
        stored row{1,
                   cols,
                   {w.bytes.begin() + n * cols / 2, w.bytes.begin() + (n + 1) * cols / 2},
                   {w.scales.begin() + n * blocks, w.scales.begin() + (n + 1) * blocks},
                   {},
                   w.outer};
        for (std::size_t b = 0; b < static_cast<std::size_t>(blocks); ++b) {
          if (row.scales[b] < 128) continue;
          row.scales[b] = static_cast<std::uint8_t>(row.scales[b] - 128);
          for (std::size_t i = 8 * b; i < 8 * b + 8; ++i) row.bytes[i] = static_cast<unsigned char>(row.bytes[i] ^ 0x88u);
        }
        double const sum = ordered_product(x.values.data(), row, 0, 23);
        other += y.at(0, n) != static_cast<float>(sum * static_cast<double>(w.outer)) ? 1 : 0;
      }
      CHECK(other == 0);
    }
  }
}

TEST_CASE_TEMPLATE("latency: as near to the exact product as it says", Policy, latency<f32_precision>, latency<bf16_precision>) {
  bool const rounded = std::is_same_v<Policy, latency<bf16_precision>>;
  for (auto const level : levels_of_kernels()) {
    auto const w = made<nvfp4_modelopt>::weights(7, 1040, 75);
    auto const x = uneven_tokens(5, 1040, 76);
    auto const y = multiplied<Policy>({1, level}, x, made<nvfp4_modelopt>::view(w));
    for (std::int64_t t = 0; t < x.tokens; ++t) {
      for (std::int64_t n = 0; n < w.rows; ++n) {
        auto const exact = expert_test::naive_dot(
            [&](std::int64_t k) { return rounded ? expert_test::nearest_bf16(x.at(t, k)) : x.at(t, k); }, w, n);
        long double bound = 0;
        for (std::int64_t b = 0; b < w.cols / 16; ++b) {
          long double largest = 0, weights = 0;
          for (std::int64_t k = 16 * b; k < 16 * b + 16; ++k) {
            largest = std::max<long double>(largest, std::abs(x.at(t, k)));
            weights += std::abs(w.at(n, k));
          }
          bound += largest * 1.01L * (rounded ? 0x1p-15L : 0x1p-23L) * weights * w.outer;
        }
        // A lane adds five blocks, rounds each sum once more, and meets fifteen others in four additions.
        bound += exact.magnitude * 11 * 0x1p-24L;
        CHECK(std::abs(y.at(t, n) - exact.value) <= bound);
      }
    }
  }
}

TEST_CASE("latency: a value that is not finite makes its own token NaN, zeros are zeros, and tiny ones count as such") {
  float const infinity = std::numeric_limits<float>::infinity();
  for (auto const level : levels_of_kernels()) {
    auto const w = made<nvfp4_modelopt>::weights(6, 272, 77);
    for (float const odd : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
      auto x = random_tokens(3, 272, 78);
      auto const before = multiplied<latency<f32_precision>>({1, level}, x, made<nvfp4_modelopt>::view(w));
      x.values[272 + 263] = odd;
      auto const y = multiplied<latency<f32_precision>>({1, level}, x, made<nvfp4_modelopt>::view(w));
      for (std::int64_t n = 0; n < 6; ++n) CHECK(std::isnan(y.at(1, n)));
      for (std::int64_t const t : {0, 2}) CHECK(expert_test::same_bits(y.view().row(t), before.view().row(t)));
    }
    for (float const tiny : {0.0f, -0.0f, 0x1p-149f, 0x1p-116f}) {
      tokens_block const x{std::vector<float>(272, tiny), 1, 272, 272};
      auto const y = multiplied<latency<f32_precision>>({1, level}, x, made<nvfp4_modelopt>::view(w));
      for (std::int64_t n = 0; n < 6; ++n) CHECK(y.at(0, n) == 0.0f);
    }
  }
}

TEST_CASE("latency: scales in tiles, rows a step apart and the other dialect give the bits of rows and scales one by one") {
  for (auto const level : levels_of_kernels()) {
    constexpr std::int64_t rows = 37, cols = 336, blocks = cols / 16;
    auto const w = made<nvfp4_modelopt>::weights(rows, cols, 79);
    auto const x = uneven_tokens(2, cols, 80);
    auto const wanted = multiplied<latency<f32_precision>>({1, level}, x, made<nvfp4_modelopt>::view(w));
    using tiled = cull::nvfp4<cull::modelopt, cull::tiled_128x4>;
    std::vector<std::uint8_t> scales(static_cast<std::size_t>(cull::tiled_128x4::size(rows, blocks)));
    for (std::int64_t n = 0; n < rows; ++n) {
      for (std::int64_t b = 0; b < blocks; ++b)
        scales[static_cast<std::size_t>(cull::tiled_128x4::offset(n, b, blocks))] =
            w.scales[static_cast<std::size_t>(n * blocks + b)];
    }
    cull::matrix<tiled> const m{{w.bytes.data(), scales.data(), w.outer, cols}, rows, cols};
    CHECK(expert_test::same_bits(multiplied<latency<f32_precision>>({2, level}, x, m), wanted));

    auto second = made<nvfp4_modelopt>::view(w);
    second.parts.row_step = 2;
    second.rows = 18;
    auto const every_second = multiplied<latency<f32_precision>>({1, level}, x, second);
    for (std::int64_t t = 0; t < 2; ++t) {
      for (std::int64_t n = 0; n < 18; ++n) CHECK(every_second.at(t, n) == wanted.at(t, 2 * n));
    }

    // compressed-tensors stores what the sum is divided by.
    cull::matrix<cull::nvfp4<cull::compressed_tensors>> const other{{w.bytes.data(), w.scales.data(), 256.0f, cols}, rows, cols};
    auto const divided = multiplied<latency<f32_precision>>({1, level}, x, other);
    for (std::int64_t n = 0; n < rows; ++n) {
      double const sum = ordered_product(x.values.data(), w, n, 23);
      CHECK(divided.at(0, n) == static_cast<float>(sum / 256));
    }
    CHECK(multiplied<latency<f32_precision>>({1, level}, tokens_block{{}, 0, cols, cols}, m).values.empty());
  }
}

TEST_CASE("latency: biases, an expert without a gate, and another activation") {
  constexpr std::int64_t hidden = 64, width = 48;
  auto const up = made<nvfp4_modelopt>::weights(width, hidden, 91), down = made<nvfp4_modelopt>::weights(hidden, width, 92);
  auto const gate = made<nvfp4_modelopt>::weights(width, hidden, 93);
  auto const up_bias = random_tokens(1, width, 94), gate_bias = random_tokens(1, width, 95),
             down_bias = random_tokens(1, hidden, 96);
  auto const x = random_tokens(3, hidden, 97);
  auto const with_bias = [](tokens_block y, tokens_block const& bias) {
    for (std::size_t i = 0; i < y.values.size(); ++i) y.values[i] += bias.values[i % bias.values.size()];
    return y;
  };
  for (auto const level : levels_of_kernels()) {
    auto const product = [&](tokens_block const& of, stored const& w) {
      return multiplied<latency<f32_precision>>({1, level}, of, made<nvfp4_modelopt>::view(w));
    };
    for (bool const gated : {false, true}) {
      cull::gated_expert<cull::matrix<nvfp4_modelopt>> expert;
      if (gated) expert.gate = made<nvfp4_modelopt>::view(gate);
      expert.up = made<nvfp4_modelopt>::view(up);
      expert.down = made<nvfp4_modelopt>::view(down);
      if (gated) expert.gate_bias = cull::array_view<float const>{gate_bias.values.data(), width};
      expert.up_bias = cull::array_view<float const>{up_bias.values.data(), width};
      expert.down_bias = cull::array_view<float const>{down_bias.values.data(), hidden};
      auto inner = with_bias(product(x, up), up_bias);
      auto const g = with_bias(product(x, gate), gate_bias);
      for (std::size_t i = 0; i < inner.values.size(); ++i) {
        inner.values[i] = gated ? cull::gelu_tanh{}(g.values[i], inner.values[i]) : cull::relu2{}(inner.values[i]);
      }
      auto const wanted = with_bias(product(inner, down), down_bias);
      auto y = empty_tokens(3, hidden);
      cull::on_cpu const exec{2, level};
      if (gated) {
        cull::expert_mlp<latency<f32_precision>>(exec, expert, x.view(), y.view(), cull::gelu_tanh{});
      } else {
        cull::expert_mlp<latency<f32_precision>>(exec, expert, x.view(), y.view(), cull::relu2{});
      }
      CHECK(expert_test::same_bits(y, wanted));
    }
  }
}

TEST_CASE_TEMPLATE("latency: experts alone, together, on threads, and their norms", Precision, f32_precision, bf16_precision) {
  constexpr std::int64_t hidden = 288, width = 80;
  for (auto const level : levels_of_kernels()) {
    stored gate = made<nvfp4_modelopt>::weights(width, hidden, 81), up = made<nvfp4_modelopt>::weights(width, hidden, 82);
    stored down = made<nvfp4_modelopt>::weights(hidden, width, 83);
    for (auto* const w : {&gate, &up, &down}) w->outer *= 0x1p-8f;
    cull::gated_expert<cull::matrix<nvfp4_modelopt>> const expert{
        made<nvfp4_modelopt>::view(gate), made<nvfp4_modelopt>::view(up), made<nvfp4_modelopt>::view(down)};
    auto const x = random_tokens(9, hidden, 84);
    auto y = empty_tokens(9, hidden);
    cull::expert_mlp<latency<Precision>>(cull::on_cpu{1, level}, expert, x.view(), y.view());
    for (std::int64_t const t : {0, 4, 8}) {
      auto alone = empty_tokens(1, hidden);
      cull::expert_mlp<latency<Precision>>(cull::on_cpu{3, level}, expert, x.view().rows(t, 1), alone.view());
      CHECK(expert_test::same_bits(alone.view().row(0), y.view().row(t)));
    }
    // Its three products are those of `matmul`, silu(gate) * up between them.
    auto const g = multiplied<latency<Precision>>({1, level}, x, made<nvfp4_modelopt>::view(gate));
    auto inner = multiplied<latency<Precision>>({1, level}, x, made<nvfp4_modelopt>::view(up));
    for (std::size_t i = 0; i < inner.values.size(); ++i) inner.values[i] = cull::silu{}(g.values[i], inner.values[i]);
    CHECK(expert_test::same_bits(multiplied<latency<Precision>>({1, level}, inner, made<nvfp4_modelopt>::view(down)), y));

    std::vector<std::int32_t> const ids(9, 0);
    std::vector<float> const weights(9, 1.0f);
    std::vector<double> norms(9);
    cull::expert_norms<latency<Precision>>(cull::on_cpu{2, level}, std::span{&expert, 1}, x.view(),
                                           cull::routing<>{{ids.data(), 9, 1}, {weights.data(), 9, 1}},
                                           cull::matrix_view<double>{norms.data(), 9, 1});
    for (std::int64_t t = 0; t < 9; ++t) {
      double squares = 0;
      for (float const v : y.view().row(t)) squares += static_cast<double>(v) * static_cast<double>(v);
      CHECK(norms[static_cast<std::size_t>(t)] == std::sqrt(squares));
    }
  }
}

TEST_CASE_TEMPLATE("latency: what is not NVFP4 throughout, and the reference, keep the bits of the precision", Precision,
                   f32_precision, bf16_precision) {
  auto const x = random_tokens(3, 64, 85);
  for (auto const level : test_support::levels()) {
    auto const plain = made<bf16_format>::weights(32, 64, 86);
    CHECK(expert_test::same_bits(multiplied<latency<Precision>>({1, level}, x, made<bf16_format>::view(plain)),
                                 multiplied<Precision>({1, level}, x, made<bf16_format>::view(plain))));
    auto const gate = made<nvfp4_modelopt>::weights(32, 64, 87), up = made<nvfp4_modelopt>::weights(32, 64, 88);
    auto const down = made<bf16_format>::weights(64, 32, 89);
    auto const inexact = made<f32_format>::weights(64, 32, 89);
    cull::gated_expert<> const mixed[] = {
        {made<nvfp4_modelopt>::view(gate), made<nvfp4_modelopt>::view(up), made<bf16_format>::view(down)},
        {made<nvfp4_modelopt>::view(gate), made<nvfp4_modelopt>::view(up), made<f32_format>::view(inexact)}};
    for (auto const& expert : mixed) {
      auto y = empty_tokens(3, 64), wanted = y;
      cull::expert_mlp<latency<Precision>>(cull::on_cpu{1, level}, expert, x.view(), y.view());
      cull::expert_mlp<Precision>(cull::on_cpu{1, level}, expert, x.view(), wanted.view());
      CHECK(expert_test::same_bits(y, wanted));
    }
  }
  auto const w = made<nvfp4_modelopt>::weights(32, 64, 90);
  CHECK(expert_test::same_bits(multiplied<latency<Precision>>({1, cull::isa::portable}, x, made<nvfp4_modelopt>::view(w)),
                               multiplied<Precision>({1, cull::isa::portable}, x, made<nvfp4_modelopt>::view(w))));
}

}  // namespace fixed_point_tests
