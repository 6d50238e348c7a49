// SPDX-License-Identifier: Apache-2.0
// Products with weights of every format and every way to lie in memory.
#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include <cull/expert.hpp>
#include <cull/tensor.hpp>

#include "expert/matrices.hpp"
#include "support/levels.hpp"

namespace {

using cull::matrix;
using expert_test::empty_tokens;
using expert_test::random_tokens;
using expert_test::tokens_block;
using test_support::at_every_level;
using test_support::cpu;

template <class Unit, class Next>
std::vector<Unit> drawn(std::int64_t count, unsigned seed, Next next) {
  std::mt19937 random{seed};
  std::vector<Unit> out(static_cast<std::size_t>(count));
  for (auto& unit : out) unit = next(static_cast<unsigned>(random()));
  return out;
}

std::uint8_t finite_e4m3(unsigned bits) { return static_cast<std::uint8_t>(bits % 0x7f | (bits >> 24 & 0x80)); }
std::uint8_t moderate_e8m0(unsigned bits) { return static_cast<std::uint8_t>(121 + bits % 13); }
float signed_fraction(unsigned bits) { return static_cast<float>(static_cast<int>(bits)) * 0x1p-31f; }

/// Random bytes of a fused tensor [stored, cols] in every format; cols a multiple of 64.
struct storage {
  storage(std::int64_t stored_rows, std::int64_t columns, unsigned seed) : stored(stored_rows), cols(columns) {
    auto const count = stored * cols;
    codes = drawn<std::uint8_t>(count, seed, finite_e4m3);
    scales = drawn<std::uint8_t>(count / 16, seed + 1, [](unsigned bits) { return static_cast<std::uint8_t>(bits % 0x7f); });
    powers = drawn<std::uint8_t>(count / 32, seed + 2, moderate_e8m0);
    squares = drawn<float>((stored + 127) / 128 * ((cols + 127) / 128), seed + 3, signed_fraction);
    f32 = drawn<float>(count, seed + 4, signed_fraction);
    for (float const value : f32) {
      f16.push_back(cull::f16::encode(value));
      bf16.push_back(cull::bf16::encode(value));
    }
    gguf_nvfp4.resize(static_cast<std::size_t>(count / 64 * 36));
    cull::to_gguf_nvfp4({codes.data(), count / 2}, scales, stored, cols, gguf_nvfp4);
    gguf_mxfp4.resize(static_cast<std::size_t>(count / 32 * 17));
    cull::to_gguf_mxfp4({codes.data(), count / 2}, powers, stored, cols, gguf_mxfp4);
  }

  std::int64_t stored, cols;
  std::vector<std::uint8_t> codes, scales, powers, gguf_nvfp4, gguf_mxfp4;
  std::vector<float> squares, f32;
  std::vector<cull::f16> f16;
  std::vector<cull::bf16> bf16;
};

/// Stored row `first + r * step` is row r.
struct place {
  std::int64_t first, step, rows;
};

/// Calls `f(matrix, factor)` with the rows of `at` in every format; `scale` is the tensor scale of those that have one, `factor`
/// what multiplies the decoded values.
template <class F>
void for_every_format(storage const& s, place at, float scale, F f) {
  auto const [first, step, rows] = at;
  auto const cols = s.cols, begin = first * cols;
  auto const wide = static_cast<long double>(scale);
  auto const* const codes = s.codes.data() + begin / 2;
  auto const* const scales = s.scales.data() + begin / 16;
  f(matrix<cull::nvfp4_modelopt>{{codes, scales, scale, cols, step}, rows, cols}, wide);
  f(matrix<cull::nvfp4_compressed>{{codes, scales, scale, cols, step}, rows, cols}, 1.0L / wide);
  f(matrix<cull::gguf_nvfp4>{{s.gguf_nvfp4.data() + begin / 64 * 36, cols, scale, step}, rows, cols}, wide);
  f(matrix<cull::mxfp4>{{codes, s.powers.data() + begin / 32, cols, step}, rows, cols}, 1.0L);
  f(matrix<cull::gguf_mxfp4>{{s.gguf_mxfp4.data() + begin / 32 * 17, cols, step}, rows, cols}, 1.0L);
  cull::fp8_block<>::parts const square{s.codes.data(), s.squares.data(), cols, (cols + 127) / 128, 1, 1, first, step};
  f(matrix<cull::fp8_block<>>{square, rows, cols}, 1.0L);
  f(matrix<cull::fp8_tensor>{{s.codes.data() + begin, step * cols, scale}, rows, cols}, wide);
  f(matrix<cull::bf16_format>{{s.bf16.data() + begin, step * cols}, rows, cols}, 1.0L);
  f(matrix<cull::f16_format>{{s.f16.data() + begin, step * cols}, rows, cols}, 1.0L);
  f(matrix<cull::f32_format>{{s.f32.data() + begin, step * cols}, rows, cols}, 1.0L);
}

/// The same for formats that may lie transposed, `[cols, stored]`, here with the storage's bytes read that way.
template <class F>
void for_every_transposed(storage const& s, place at, float scale, F f) {
  auto const [first, step, rows] = at;
  auto const cols = s.cols, stored = s.stored;
  cull::fp8_block<>::parts const square{s.codes.data(), s.squares.data(), 1, 1, stored, (stored + 127) / 128, first, step};
  f(matrix<cull::fp8_block<>>{square, rows, cols}, 1.0L);
  f(matrix<cull::fp8_tensor>{{s.codes.data() + first, step, scale, stored}, rows, cols}, static_cast<long double>(scale));
  f(matrix<cull::bf16_format>{{s.bf16.data() + first, step, stored}, rows, cols}, 1.0L);
  f(matrix<cull::f16_format>{{s.f16.data() + first, step, stored}, rows, cols}, 1.0L);
  f(matrix<cull::f32_format>{{s.f32.data() + first, step, stored}, rows, cols}, 1.0L);
}

std::vector<place> places(std::int64_t rows) {
  return {{0, 1, rows}, {rows, 1, rows}, {2 * rows, 1, 2 * rows}, {2 * rows, 2, rows}, {2 * rows + 1, 2, rows}};
}

template <class F>
std::vector<float> decoded(matrix<F> const& m) {
  std::vector<float> out(static_cast<std::size_t>(m.rows * m.cols));
  for (std::int64_t row = 0; row < m.rows; ++row) {
    for (std::int64_t g = 0; g < m.cols / F::group; ++g) {
      F::decode_group(m.parts, row, g, out.data() + row * m.cols + g * F::group);
    }
  }
  return out;
}

template <class F>
std::vector<float> dequantized(matrix<F> const& m) {
  std::vector<float> out(static_cast<std::size_t>(m.rows * m.cols));
  cull::dequantize(cpu(), m, cull::matrix_view<float>{out.data(), m.rows, m.cols});
  return out;
}

matrix<cull::f32_format> as_matrix(std::vector<float> const& values, std::int64_t rows, std::int64_t cols) {
  return {{values.data(), cols}, rows, cols};
}

template <class W>
tokens_block multiplied(tokens_block const& x, W const& w, int threads = 1) {
  auto y = empty_tokens(x.tokens, cull::visit_matrix(w, [](auto const& m) { return m.rows; }));
  cull::matmul(cpu(threads), x.view(), w, y.view());
  return y;
}

/// f64 adds K / 8 exact products in each of eight lanes and joins these in three steps; the outer scale, itself rounded once at
/// most, is one more step; the result is rounded to f32.
template <class F>
std::int64_t outside_of_bound(matrix<F> const& w, long double factor, tokens_block const& x) {
  auto const values = decoded(w);
  auto const y = multiplied(x, w, 3);
  std::int64_t wrong = 0;
  for (std::int64_t t = 0; t < x.tokens; ++t) {
    for (std::int64_t n = 0; n < w.rows; ++n) {
      long double sum = 0, magnitude = 0;
      for (std::int64_t k = 0; k < w.cols; ++k) {
        auto const weight = values[static_cast<std::size_t>(n * w.cols + k)];
        auto const term = static_cast<long double>(x.at(t, k)) * static_cast<long double>(weight) * factor;
        sum += term;
        magnitude += std::abs(term);
      }
      auto const steps = static_cast<long double>(w.cols / 8 + 6);
      auto const lost =
          test_support::current_level == cull::isa::portable ? steps * 0x1.01p-53L : test_support::sum_error(w.cols);
      long double const allowed = 0x1p-24L * std::abs(sum) + lost * magnitude;
      wrong += !(std::abs(static_cast<long double>(y.at(t, n)) - sum) <= allowed);
    }
  }
  return wrong;
}

/// What `multiplied` gives has the bits of the product with the dequantised values as f32.
template <class F>
bool same_as_dequantized(matrix<F> const& w, tokens_block const& x) {
  auto const values = dequantized(w);
  return expert_test::same_bits(multiplied(x, w), multiplied(x, as_matrix(values, w.rows, w.cols)));
}

}  // namespace

TEST_CASE("matmul in every format: within the f64 sum's bound of the exact product, whatever the tensor scale") {
  at_every_level([&] {
    for (std::int64_t const cols : {64, 192, 320}) {
      storage const s{4 * 9, cols, 101};
      auto const x = random_tokens(3, cols, 102);
      for (float const scale : {1.0f, 3.0f, std::bit_cast<float>(0x378c30c3u), std::bit_cast<float>(0x4769bd38u)}) {
        for (auto const& at : places(9)) {
          std::int64_t wrong = 0;
          auto const check = [&](auto const& m, long double factor) { wrong += outside_of_bound(m, factor, x); };
          for_every_format(s, at, scale, check);
          for_every_transposed(s, at, scale, check);
          CHECK(wrong == 0);
        }
      }
    }
  });
}

TEST_CASE("matmul in every format: where the tensor scale is a power of two, the bits of the dequantised matrix") {
  at_every_level([&] {
    for (std::int64_t const cols : {64, 192, 320}) {
      storage const s{4 * 17, cols, 111};
      auto const x = random_tokens(5, cols, 112);
      for (float const scale : {1.0f, 0x1p-13f, 0x1p9f}) {
        for (auto const& at : places(17)) {
          int formats = 0, different = 0;
          auto const check = [&](auto const& m, long double) {
            different += !same_as_dequantized(m, x);
            ++formats;
          };
          for_every_format(s, at, scale, check);
          for_every_transposed(s, at, scale, check);
          CHECK(formats == 15);
          CHECK(different == 0);
        }
      }
    }
  });
}

TEST_CASE("matmul: formats of checkpoints give the same bits in weight_matrix, and with any number of threads") {
  at_every_level([&] {
    storage const s{300, 128, 121};
    auto const x = random_tokens(64, 128, 122);
    int formats = 0;
    for_every_format(s, {1, 2, 150}, 0.3f, [&](auto const& m, long double) {
      auto const one = multiplied(x, m);
      CHECK(expert_test::same_bits(multiplied(x, m, 4), one));
      if constexpr (std::constructible_from<cull::weight_matrix, decltype(m)>) {
        CHECK(expert_test::same_bits(multiplied(x, cull::weight_matrix{m}), one));
        ++formats;
      }
    });
    CHECK(formats == 8);
  });
}

TEST_CASE("matmul: compressed-tensors' divisor costs no bit that f64 has") {
  at_every_level([&] {
    // One weight of 1 and one token of 1: the product is the divisor's reciprocal, rounded to f32 once.
    std::vector<std::uint8_t> const codes{0x02, 0, 0, 0, 0, 0, 0, 0}, scales{0x38};
    tokens_block const one{std::vector<float>(16, 1.0f), 1, 16, 16};
    std::int64_t wrong = 0;
    for (std::uint32_t pattern = 0x3f000000u; pattern < 0x3f800000u; pattern += 997) {
      float const divisor = std::bit_cast<float>(pattern);
      matrix<cull::nvfp4_compressed> const w{{codes.data(), scales.data(), divisor, 16}, 1, 16};
      wrong += multiplied(one, w).at(0, 0) != 1.0f / divisor;
    }
    CHECK(wrong == 0);
  });
}

TEST_CASE("matmul: columns that do not fill a format's groups are refused") {
  storage const s{8, 64, 131};
  auto const x = random_tokens(2, 60, 132);
  int refused = 0;
  for_every_format(s, {0, 1, 8}, 1.0f, [&](auto m, long double) {
    m.cols = 60;
    auto const problem = expert_test::catch_error([&] { multiplied(x, m); });
    refused += problem.thrown && problem.code == cull::errc::shape_mismatch;
  });
  CHECK(refused == 7);
}

TEST_CASE(
    "expert_mlp in every format: gate and up of a fused tensor, after another or interleaved, as with dequantised weights") {
  std::int64_t const hidden = 128, width = 64;
  storage const gate_up{2 * width, hidden, 141}, down{hidden, width, 142};
  auto const x = random_tokens(4, hidden, 143);
  std::vector<cull::weight_matrix> downs;
  auto const collect_into = [](std::vector<cull::weight_matrix>& all) {
    return [&all](auto const& m, long double) {
      if constexpr (std::constructible_from<cull::weight_matrix, decltype(m)>) all.push_back(m);
    };
  };
  for_every_format(down, {0, 1, hidden}, 0x1p-6f, collect_into(downs));
  for (std::int64_t const step : {1, 2}) {
    std::vector<cull::weight_matrix> gates, ups;
    for_every_format(gate_up, {0, step, width}, 0x1p-6f, collect_into(gates));
    for_every_format(gate_up, {step == 1 ? width : 1, step, width}, 0x1p-6f, collect_into(ups));
    REQUIRE(gates.size() == 8);
    for (std::size_t i = 0; i < 8; ++i) {
      auto const f32 = [](cull::weight_matrix const& w) { return w.visit([](auto const& m) { return dequantized(m); }); };
      auto const gate = f32(gates[i]), up = f32(ups[i]), back = f32(downs[i]);
      auto y = empty_tokens(4, hidden), expected = empty_tokens(4, hidden);
      cull::expert_mlp(cpu(), cull::gated_expert<>{gates[i], ups[i], downs[i]}, x.view(), y.view());
      cull::expert_mlp(
          cpu(),
          cull::gated_expert<>{as_matrix(gate, width, hidden), as_matrix(up, width, hidden), as_matrix(back, hidden, width)},
          x.view(), expected.view());
      CHECK(expert_test::same_bits(y, expected));
      CHECK(std::isfinite(y.at(0, 0)));
    }
  }
}
