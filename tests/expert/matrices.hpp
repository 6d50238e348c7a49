// SPDX-License-Identifier: Apache-2.0
// Seeded weights in three formats with their values by the formats' definitions, and products in long double.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <cull/expert.hpp>

#include "support/failures.hpp"

namespace expert_test {

class source {
 public:
  explicit source(unsigned seed) : engine_(seed) {}
  unsigned bits() { return static_cast<unsigned>(engine_()); }
  float uniform(float low, float high) { return low + (high - low) * static_cast<float>(bits() * 0x1p-32); }
  std::vector<float> values(std::int64_t count, float low, float high) {
    std::vector<float> out(static_cast<std::size_t>(count));
    for (auto& v : out) v = uniform(low, high);
    return out;
  }

 private:
  std::mt19937 engine_;
};

/// Nearest bf16, ties to even, by scaling to an integer of eight bits.
inline float nearest_bf16(float x) {
  if (x == 0.0f) return x;
  int exponent = 0;
  float const fraction = std::frexp(x, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(fraction, 8)), exponent - 8);
}

/// Decoded values beside the bytes; the outer scale apart.
struct stored {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<unsigned char> bytes;  ///< values, or codes
  std::vector<std::uint8_t> scales;  ///< of NVFP4
  std::vector<long double> decoded;  ///< [rows, cols]
  float outer = 1.0f;

  long double at(std::int64_t n, std::int64_t k) const { return decoded[static_cast<std::size_t>(n * cols + k)]; }
};

template <class F>
struct made;  // `made<F>::weights(rows, cols, seed)` and `made<F>::view(stored)`

template <>
struct made<cull::f32_format> {
  static stored weights(std::int64_t rows, std::int64_t cols, unsigned seed) {
    auto const values = source{seed}.values(rows * cols, -1.0f, 1.0f);
    stored out{rows, cols, std::vector<unsigned char>(values.size() * 4), {}, {values.begin(), values.end()}};
    std::memcpy(out.bytes.data(), values.data(), out.bytes.size());
    return out;
  }
  static cull::matrix<cull::f32_format> view(stored const& s) { return {{s.bytes.data(), s.cols}, s.rows, s.cols}; }
};

template <>
struct made<cull::bf16_format> {
  static stored weights(std::int64_t rows, std::int64_t cols, unsigned seed) {
    auto const values = source{seed}.values(rows * cols, -1.0f, 1.0f);
    stored out{rows, cols, {}, {}, {}};
    for (float const v : values) {
      float const rounded = nearest_bf16(v);
      std::uint32_t word = 0;
      std::memcpy(&word, &rounded, 4);
      out.bytes.push_back(static_cast<unsigned char>(word >> 16));
      out.bytes.push_back(static_cast<unsigned char>(word >> 24));
      out.decoded.push_back(rounded);
    }
    return out;
  }
  static cull::matrix<cull::bf16_format> view(stored const& s) { return {{s.bytes.data(), s.cols}, s.rows, s.cols}; }
};

inline long double e4m3_value(unsigned code) {
  int const exponent = static_cast<int>(code >> 3 & 15u);
  int const mantissa = static_cast<int>(code & 7u);
  return exponent == 0 ? std::ldexp(static_cast<long double>(mantissa), -9)
                       : std::ldexp(static_cast<long double>(8 + mantissa), exponent - 10);
}

template <>
struct made<cull::nvfp4_modelopt> {
  static stored weights(std::int64_t rows, std::int64_t cols, unsigned seed) {
    static constexpr long double magnitudes[] = {0.0L, 0.5L, 1.0L, 1.5L, 2.0L, 3.0L, 4.0L, 6.0L};
    source from{seed};
    stored out{rows, cols, {}, {}, {}, from.uniform(1e-3f, 2e-3f)};
    for (std::int64_t i = 0; i < rows * cols / 2; ++i) out.bytes.push_back(static_cast<unsigned char>(from.bits() >> 24));
    for (std::int64_t i = 0; i < rows * cols / 16; ++i) out.scales.push_back(static_cast<std::uint8_t>(from.bits() % 0x7f));
    for (std::size_t i = 0; i < static_cast<std::size_t>(rows * cols); ++i) {
      unsigned const code = out.bytes[i / 2] >> (i % 2 * 4) & 15u;
      long double const sign = code >= 8 ? -1.0L : 1.0L;
      out.decoded.push_back(sign * magnitudes[code % 8] * e4m3_value(out.scales[i / 16]));
    }
    return out;
  }
  static cull::matrix<cull::nvfp4_modelopt> view(stored const& s) {
    return {{s.bytes.data(), s.scales.data(), s.outer, s.cols}, s.rows, s.cols};
  }
};

/// A block of tokens, rows `stride` apart.
struct tokens_block {
  std::vector<float> values;
  std::int64_t tokens;
  std::int64_t cols;
  std::int64_t stride;

  cull::matrix_view<float> view() { return {values.data(), tokens, cols, stride}; }
  cull::matrix_view<float const> view() const { return {values.data(), tokens, cols, stride}; }
  float at(std::int64_t t, std::int64_t k) const { return values[static_cast<std::size_t>(t * stride + k)]; }
};

inline tokens_block random_tokens(std::int64_t tokens, std::int64_t cols, unsigned seed) {
  return {source{seed}.values(tokens * cols, -2.0f, 2.0f), tokens, cols, cols};
}

inline tokens_block empty_tokens(std::int64_t tokens, std::int64_t cols) {
  return {std::vector<float>(static_cast<std::size_t>(tokens * cols), -77.0f), tokens, cols, cols};
}

/// Makes every whole block of 16 columns repeat its first column.
inline void flatten_blocks(stored& w) {
  bool const packed = !w.scales.empty();
  auto const item = packed ? 1 : static_cast<std::int64_t>(w.bytes.size()) / (w.rows * w.cols);
  auto const block = packed ? 8 : 16 * item;
  auto const row = static_cast<std::int64_t>(w.bytes.size()) / w.rows;
  for (std::int64_t n = 0; n < w.rows; ++n) {
    for (std::int64_t g = 0; g < w.cols / 16; ++g) {
      auto const bytes = w.bytes.begin() + n * row + g * block;
      if (packed) *bytes = static_cast<unsigned char>((*bytes & 15u) * 17u);
      for (std::int64_t i = item; i < block; ++i) bytes[i] = bytes[i - item];
      auto const values = w.decoded.begin() + n * w.cols + g * 16;
      std::fill_n(values + 1, 15, *values);
    }
  }
}

/// Tokens of a wide range that cancel over flat blocks, between positions that differ modulo 8; columns after the last
/// block are small. So results are little but the roundings of f64 sums, and show their order.
inline tokens_block cancelling_tokens(std::int64_t tokens, std::int64_t cols, unsigned seed) {
  auto out = random_tokens(tokens, cols, seed);
  source from{seed + 1};
  for (std::int64_t t = 0; t < tokens; ++t) {
    auto const row = out.view().row(t);
    for (std::int64_t k = 0; k < cols; ++k) {
      bool const in_block = k < cols / 16 * 16;
      row[k] = std::ldexp(row[k], in_block ? static_cast<int>(from.bits() % 61) - 30 : -24);
      if (in_block && k % 16 >= 8) row[k] = -row[k / 16 * 16 + (k + 3) % 8];
    }
  }
  return out;
}

struct product {
  long double value = 0;
  long double magnitude = 0;  ///< the sum of |x| |w|
};

/// One output of x * w^T; `x(k)` is an activation.
template <class X>
product naive_dot(X const& x, stored const& w, std::int64_t n) {
  product out;
  for (std::int64_t k = 0; k < w.cols; ++k) {
    auto const term = static_cast<long double>(x(k)) * w.at(n, k) * w.outer;
    out.value += term;
    out.magnitude += std::abs(term);
  }
  return out;
}

inline bool same_bits(cull::array_view<float const> a, cull::array_view<float const> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(float)) == 0;
}

inline bool same_bits(tokens_block const& a, tokens_block const& b) {
  if (a.tokens != b.tokens) return false;
  for (std::int64_t t = 0; t < a.tokens; ++t) {
    if (!same_bits(a.view().row(t), b.view().row(t))) return false;
  }
  return true;
}

using test_support::catch_error;
using test_support::caught;

}  // namespace expert_test
