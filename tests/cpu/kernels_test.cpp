// SPDX-License-Identifier: Apache-2.0
// The kernels' one order of summation, written down naively, and their bits on every machine, batch and thread count.
#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include <cull/cpu/x86/exp_avx2.hpp>
#include <cull/cpu/x86/silu.hpp>

#include "expert/matrices.hpp"
#include "support/levels.hpp"

namespace {

using expert_test::empty_tokens;
using expert_test::made;
using expert_test::random_tokens;
using expert_test::tokens_block;

/// Chunks of 1024 columns, ascending; in them lane 2i of 16 takes column c(i) of every 16 and lane 2i + 1 column c(i) + 8; lanes
/// v[4L + j] are added over L, (v0 + v2) + (v1 + v3), then over j likewise.
float ordered_product(float const* x, float const* w, std::int64_t cols) {
  float total = 0;
  for (std::int64_t first = 0; first < cols; first += 1024) {
    auto const size = std::min<std::int64_t>(1024, cols - first);
    float lane[16] = {};
    constexpr int column[] = {0, 2, 1, 3, 4, 6, 5, 7};
    for (std::int64_t k = 0; k < size; k += 16) {
      for (int j = 0; j < 16; ++j) {
        auto const at = k + column[j / 2] + 8 * (j % 2);
        bool const inside = at < size;
        lane[j] = std::fma(inside ? x[first + at] : 0.0f, inside ? w[first + at] : 0.0f, lane[j]);
      }
    }
    float quarter[4];
    for (int j = 0; j < 4; ++j) quarter[j] = (lane[j] + lane[8 + j]) + (lane[4 + j] + lane[12 + j]);
    float const sum = (quarter[0] + quarter[2]) + (quarter[1] + quarter[3]);
    total = first == 0 ? sum : total + sum;
  }
  return total;
}

/// Chunks of 1024 columns, ascending; in them 32 columns at a time, 0, 4, .. 28, 1, 5, .. 31: the products at even and at odd
/// places of that order are summed in turn, then both, then onto the chunk's sum.
float product_in_tiles(float const* x, float const* w, std::int64_t cols) {
  float total = 0;
  for (std::int64_t first = 0; first < cols; first += 1024) {
    float sum = 0;
    for (std::int64_t k = first; k < std::min(first + 1024, cols); k += 32) {
      float parts[2] = {};
      for (std::int64_t place = 0; place < 32; ++place) {
        auto const at = k + 4 * (place % 8) + place / 8;
        float const a = at < cols ? cull::bf16::encode(x[at]).decode() : 0.0f;
        parts[place % 2] = std::fma(a, at < cols ? w[at] : 0.0f, parts[place % 2]);
      }
      sum += parts[0] + parts[1];
    }
    total = first == 0 ? sum : total + sum;
  }
  return total;
}

template <class Precision, class F>
tokens_block multiplied(cull::on_cpu exec, tokens_block const& x, cull::matrix<F> const& w) {
  auto y = empty_tokens(x.tokens, w.rows);
  cull::matmul<Precision>(exec, x.view(), w, y.view());
  return y;
}

}  // namespace

TEST_CASE("f32 kernels: the order of summation, to the bit, for whole and broken chunks, tiles and strips") {
  for (auto const level : {cull::isa::avx2, cull::isa::avx512}) {
    if (level > cull::best_isa()) continue;
    for (std::int64_t const cols : {1, 15, 31, 32, 33, 512, 1000, 1023, 1024, 1025, 2064, 2080}) {
      for (std::int64_t const rows : {1, 2, 3, 6, 7, 13}) {
        for (std::int64_t const tokens : {1, 2, 3, 4, 5, 70}) {
          if (tokens == 70 && rows != 13) continue;
          auto const w = made<cull::f32_format>::weights(rows, cols, 31);
          auto const x = random_tokens(tokens, cols, 32);
          auto const y = multiplied<cull::f32_precision>({2, level}, x, made<cull::f32_format>::view(w));
          std::int64_t other = 0;
          for (std::int64_t t = 0; t < tokens; ++t) {
            for (std::int64_t n = 0; n < rows; ++n) {
              std::vector<float> row;
              for (std::int64_t k = 0; k < cols; ++k) row.push_back(static_cast<float>(w.at(n, k)));
              other += y.at(t, n) != ordered_product(x.view().row(t).data(), row.data(), cols) ? 1 : 0;
            }
          }
          CHECK(other == 0);
        }
      }
    }
  }
}

TEST_CASE("f32 kernels: AVX2 and AVX-512 give the same bits in every format") {
  if (cull::best_isa() < cull::isa::avx512) return;
  auto const check = [&]<class F>(F, std::int64_t cols) {
    auto const w = made<F>::weights(45, cols, 41);
    auto const x = random_tokens(9, cols, 42);
    auto const view = made<F>::view(w);
    auto const narrow = multiplied<cull::f32_precision>({1, cull::isa::avx2}, x, view);
    CHECK(expert_test::same_bits(narrow, multiplied<cull::f32_precision>({2, cull::isa::avx512}, x, view)));
    CHECK(expert_test::same_bits(narrow, multiplied<cull::f32_precision>({1, cull::isa::avx512_bf16}, x, view)));
  };
  for (std::int64_t const cols : {16, 48, 1040, 3072}) {
    check(cull::nvfp4_modelopt{}, cols);
    check(cull::bf16_format{}, cols);
    check(cull::f32_format{}, cols);
  }
}

TEST_CASE("bf16 kernels: NVFP4 weights give the bits of the same values stored as bf16, alone and in company") {
  for (auto const level : {cull::isa::avx512_bf16, cull::isa::amx_bf16}) {
    if (level > cull::best_isa()) continue;
    for (std::int64_t const cols : {16, 64, 80, 1024, 2048, 2064, 6144}) {
      auto w = made<cull::nvfp4_modelopt>::weights(37, cols, 51);
      auto const x = random_tokens(67, cols, 52);
      auto const view = made<cull::nvfp4_modelopt>::view(w);
      std::vector<cull::bf16> values;
      for (auto const& v : w.decoded) values.push_back(cull::bf16::encode(static_cast<float>(v)));
      auto plain =
          multiplied<cull::bf16_precision>({1, level}, x, cull::matrix<cull::bf16_format>{{values.data(), cols}, 37, cols});
      for (auto& y : plain.values) y = static_cast<float>(static_cast<double>(y) * static_cast<double>(w.outer));
      auto const direct = multiplied<cull::bf16_precision>({2, level}, x, view);
      CHECK(expert_test::same_bits(direct, plain));
      auto alone = empty_tokens(1, 37);
      for (std::int64_t const t : {0, 1, 31, 32, 63, 64, 66}) {
        cull::matmul<cull::bf16_precision>(cull::on_cpu{1, level}, x.view().rows(t, 1), view, alone.view());
        CHECK(expert_test::same_bits(alone.view().row(0), direct.view().row(t)));
      }
    }
  }
}

TEST_CASE("tile kernel: the order of summation, to the bit, for whole and broken chunks, tiles and strips") {
  if (cull::best_isa() < cull::isa::amx_bf16) return;
  for (std::int64_t const cols : {16, 32, 48, 1008, 1024, 1040, 2080}) {
    for (std::int64_t const rows : {1, 16, 17, 33, 64}) {
      auto const w = made<cull::nvfp4_modelopt>::weights(rows, cols, 81);
      auto const x = random_tokens(35, cols, 82);
      auto const y = multiplied<cull::bf16_precision>({2, cull::isa::amx_bf16}, x, made<cull::nvfp4_modelopt>::view(w));
      std::int64_t other = 0;
      for (std::int64_t t = 0; t < 35; ++t) {
        for (std::int64_t n = 0; n < rows; ++n) {
          std::vector<float> row;
          for (std::int64_t k = 0; k < cols; ++k) row.push_back(static_cast<float>(w.at(n, k)));
          double const sum = product_in_tiles(x.view().row(t).data(), row.data(), cols);
          other += y.at(t, n) != static_cast<float>(sum * static_cast<double>(w.outer)) ? 1 : 0;
        }
      }
      CHECK(other == 0);
    }
  }
}

TEST_CASE("kernels: NaN and infinity reach the outputs that they belong to, and no other") {
  test_support::at_every_level([&] {
    auto const w = made<cull::f32_format>::weights(9, 70, 61);
    auto x = random_tokens(6, 70, 62);
    x.values[static_cast<std::size_t>(2 * x.view().stride() + 69)] = std::numeric_limits<float>::quiet_NaN();
    x.values[static_cast<std::size_t>(4 * x.view().stride())] = std::numeric_limits<float>::infinity();
    for (bool const rounded : {false, true}) {
      auto const view = made<cull::f32_format>::view(w);
      auto const y = rounded ? multiplied<cull::bf16_precision>(test_support::cpu(), x, view)
                             : multiplied<cull::f32_precision>(test_support::cpu(), x, view);
      for (std::int64_t t = 0; t < 6; ++t) {
        for (std::int64_t n = 0; n < 9; ++n) {
          CHECK(std::isnan(y.at(t, n)) == (t == 2));
          CHECK(std::isinf(y.at(t, n)) == (t == 4));
        }
      }
    }
  });
}

TEST_CASE("few tokens: rows decoded in registers give the bits of the tiles, and of the order of summation") {
  test_support::at_every_level([] {
    for (std::int64_t const cols : {32, 64, 80, 512, 1024, 1088, 2112, 6144}) {
      auto const w = made<cull::nvfp4_modelopt>::weights(13, cols, 71);
      auto const x = random_tokens(21, cols, 72);
      auto const view = made<cull::nvfp4_modelopt>::view(w);
      auto const together = multiplied<cull::f32_precision>(test_support::cpu(), x, view);
      auto const rounded = multiplied<cull::bf16_precision>(test_support::cpu(), x, view);
      for (std::int64_t tokens = 1; tokens <= 16; ++tokens) {
        for (std::int64_t const first : {0, 5}) {
          auto few = empty_tokens(tokens, 13);
          cull::matmul<cull::f32_precision>(test_support::cpu(2), x.view().rows(first, tokens), view, few.view());
          for (std::int64_t t = 0; t < tokens; ++t)
            CHECK(expert_test::same_bits(few.view().row(t), together.view().row(first + t)));
          cull::matmul<cull::bf16_precision>(test_support::cpu(), x.view().rows(first, tokens), view, few.view());
          for (std::int64_t t = 0; t < tokens; ++t)
            CHECK(expert_test::same_bits(few.view().row(t), rounded.view().row(first + t)));
        }
      }
      if (test_support::cpu().level() == cull::isa::portable) continue;
      std::int64_t other = 0;
      for (std::int64_t n = 0; n < 13; ++n) {
        std::vector<float> row;
        for (std::int64_t k = 0; k < cols; ++k) row.push_back(static_cast<float>(w.at(n, k)));
        double const sum = ordered_product(x.view().row(0).data(), row.data(), cols);
        other += together.at(0, n) != static_cast<float>(sum * static_cast<double>(w.outer)) ? 1 : 0;
      }
      CHECK(other == 0);
    }
  });
}

TEST_CASE("silu kernel: the bits of silu for one float in 1021, every exponent, both signs, infinities and NaN") {
#if CULL_X86
  if (cull::best_isa() < cull::isa::avx2) return;
  std::vector<float> gate, inner;
  std::int64_t different = 0;
  auto const compare = [&](auto kernel) {
    auto out = inner;
    kernel(gate.data(), out.data(), static_cast<std::int64_t>(gate.size()));
    for (std::size_t i = 0; i < gate.size(); ++i) {
      float const wanted = cull::silu{}(gate[i], inner[i]);
      bool const both_nan = std::isnan(wanted) && std::isnan(out[i]);
      different += both_nan || std::bit_cast<std::uint32_t>(wanted) == std::bit_cast<std::uint32_t>(out[i]) ? 0 : 1;
    }
  };
  auto const flush = [&] {
    compare(cull::detail::multiply_by_silu_avx2);
    if (cull::best_isa() >= cull::isa::avx512) compare(cull::detail::multiply_by_silu_avx512);
    gate.clear();
    inner.clear();
  };
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 1021) {
    gate.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(bits)));
    inner.push_back(0.75f + static_cast<float>(bits % 1000) * 0.01f);
    if (gate.size() == 100003) flush();
  }
  for (float const edge : {0.0f, -0.0f, 1.0f, -1.0f, 0x1p-28f, -0x1p-28f, 104.0f, -104.0f, 88.72284f, -88.72284f, -87.33655f,
                           -88.8f, std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()}) {
    for (int step = -40; step <= 40; ++step) {
      gate.push_back(std::bit_cast<float>(std::bit_cast<std::uint32_t>(edge) + static_cast<std::uint32_t>(step)));
      inner.push_back(1.0f);
    }
  }
  flush();
  CHECK(different == 0);
#endif
}

TEST_CASE("levels: the limit holds, and no more than the machine has is used") {
  CHECK(cull::on_cpu{1, cull::isa::portable}.level() == cull::isa::portable);
  CHECK(cull::on_cpu{}.level() == cull::best_isa());
  for (auto const each : test_support::levels()) CHECK(cull::on_cpu{1, each}.level() == each);
}
