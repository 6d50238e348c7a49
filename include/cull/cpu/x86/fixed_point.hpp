// SPDX-License-Identifier: Apache-2.0
// Activations as integers: in a block of 16 every value is a whole number of the block's unit. Products with e2m1 codes, doubled,
// are integers then, their sum over a block is exact, and floats meet once a block instead of once a value.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

#include <cull/config.hpp>
#include <cull/cpu/aligned_buffer.hpp>
#include <cull/cpu/on_cpu.hpp>
#include <cull/cpu/packed_rows.hpp>
#include <cull/cpu/x86/tables.hpp>
#include <cull/cpu/x86/targets.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// The 256 columns of a token that 128 bytes of codes meet, each value as `Digits` signed bytes: block b is lane
/// b % 8 / 2 * 4 + b / 8 * 2 + b % 2, in which two vectors of codes shuffled by pairs have it. How near values are is said at
/// `latency`.
template <int Digits>
struct fixed_point_unit {
  static constexpr std::int64_t columns = 256;
  static constexpr int bias = 12;  // of codes, which the products are of: an unsigned byte holds them so

  std::int8_t digits[Digits][4][64];  ///< lowest first; of columns 0, 2, .. 6 of each block, 1, .. 7, 8, .. 14 and 9, .. 15
  std::int32_t corrections[16];       ///< what the bias adds to a block's sum, negated
  float units[16];                    ///< of half a code times a block scale of 2^-8

  static constexpr int lane(std::int64_t block) { return static_cast<int>(block % 8 / 2 * 4 + block / 8 * 2 + block % 2); }

  std::int32_t value(int in_lane, int column) const {
    std::int32_t out = 0;
    for (int d = Digits; d-- > 0;) out = out * 256 + digits[d][column / 8 * 2 + column % 2][in_lane * 4 + column % 8 / 2];
    return out;
  }
};

inline float power_of_two(int exponent) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(exponent + 127) << 23);
}

/// Sixteen values as one block of a unit. Blocks whose largest is below 2^-90 have the unit of that; one that is not finite makes
/// every sum it enters NaN.
template <int Digits>
class block_encoder {
 public:
  CULL_TARGET_AVX2 static void run(float const* x, std::int64_t block, fixed_point_unit<Digits>& out) noexcept {
    std::uint32_t largest = 0;
    for (int i = 0; i < 16; ++i) largest = std::max(largest, std::bit_cast<std::uint32_t>(x[i]) & 0x7fffffffu);
    auto const lane = out.lane(block);
    if (largest >= infinity) return poison(lane, out);
    auto const exponent = exponent_of(largest);
    auto const factor = static_cast<double>(power_of_two(bits - exponent));
    std::int32_t values[16];
    for (int i = 0; i < 16; ++i) values[i] = rounded(factor * static_cast<double>(x[i]));
    put(values, lane, out);
    out.corrections[lane] = -out.bias * std::accumulate(values, values + 16, 0);
    out.units[lane] = power_of_two(exponent - bits - 1 + 8);
  }

 private:
  static constexpr int bits = 8 * Digits - 1;
  static constexpr std::int32_t highest = (127 * 256 + 127) * (Digits == 3 ? 256 : 1) + (Digits == 3 ? 127 : 0);
  static constexpr std::uint32_t infinity = 0x7f800000;
  static_assert(Digits == 2 || Digits == 3);

  /// 2^e is above all values, and what they round to has digits.
  CULL_TARGET_AVX2 static int exponent_of(std::uint32_t largest) noexcept {
    auto const exponent = std::max(static_cast<int>(largest >> 23) - 126, -90);
    auto const value = static_cast<double>(std::bit_cast<float>(largest));
    return rounded(value * static_cast<double>(power_of_two(bits - exponent))) > highest ? exponent + 1 : exponent;
  }
  /// To the nearest integer, ties to even.
  CULL_TARGET_AVX2 static std::int32_t rounded(double value) noexcept {
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(std::bit_cast<std::uint64_t>(value + 0x1.8p52)));
  }
  CULL_TARGET_AVX2 static void put(std::int32_t const* values, int lane, fixed_point_unit<Digits>& out) noexcept {
    constexpr std::uint32_t halves = Digits == 3 ? 0x808080 : 0x8080;
    std::uint32_t bytes[16];
    for (int i = 0; i < 16; ++i) bytes[i] = (static_cast<std::uint32_t>(values[i]) + halves) ^ halves;
    for (int d = 0; d < Digits; ++d) {
      for (int part = 0; part < 4; ++part) {
        auto* const to = out.digits[d][part] + lane * 4;
        for (int i = 0; i < 4; ++i) to[i] = static_cast<std::int8_t>(bytes[part / 2 * 8 + part % 2 + 2 * i] >> 8 * d & 0xffu);
      }
    }
  }
  CULL_TARGET_AVX2 static void poison(int lane, fixed_point_unit<Digits>& out) noexcept {
    std::int32_t const zeros[16] = {};
    put(zeros, lane, out);
    out.corrections[lane] = 0;
    out.units[lane] = std::numeric_limits<float>::quiet_NaN();
  }
};

/// The sum that kernels give, written down: each lane adds its blocks, ascending, by FMA; lanes are added as in x86/reduce.hpp.
template <int Digits>
float fixed_point_product(fixed_point_unit<Digits> const* x, std::uint8_t const* codes, std::uint8_t const* scales,
                          std::int64_t columns) noexcept {
  float lanes[16] = {};
  for (std::int64_t b = 0; b < columns / 16; ++b) {
    auto const& unit = x[b / 16];
    auto const lane = unit.lane(b % 16);
    std::int32_t sum = 0;
    for (int i = 0; i < 16; ++i) {
      auto const code = codes[b * 8 + i / 2] >> i % 2 * 4 & 15;
      sum += static_cast<std::int32_t>(2 * e2m1_values[static_cast<std::size_t>(code)]) * unit.value(lane, i);
    }
    auto const scale = 0x1p-8f * e4m3_values[scales[b]] * unit.units[lane];
    lanes[lane] = std::fma(static_cast<float>(sum), scale, lanes[lane]);
  }
  float quarters[4];
  for (int j = 0; j < 4; ++j) quarters[j] = (lanes[j] + lanes[8 + j]) + (lanes[4 + j] + lanes[12 + j]);
  return (quarters[0] + quarters[2]) + (quarters[1] + quarters[3]);
}

/// Activations [tokens, K] for a kernel that multiplies stored rows only.
template <class Kernel>
class fixed_point_panel {
 public:
  using unit = fixed_point_unit<Kernel::digits>;

  /// `x(t, first, size, out)` writes columns of a token as f32.
  template <class Source>
  void fill(on_cpu const& exec, std::int64_t tokens, std::int64_t columns, Source const& x) {
    tokens_ = tokens;
    columns_ = columns;
    values_.reserve(tokens * units());
    constexpr std::int64_t at_once = 4;
    auto const pieces = (units() + at_once - 1) / at_once;
    for_each_index(exec, tokens * pieces, [&](std::int64_t piece) {
      auto const t = piece / pieces, first = piece % pieces * at_once;
      for (auto u = first; u < std::min(first + at_once, units()); ++u) fill_unit(t, u, x);
    });
  }

  std::int64_t tokens() const { return tokens_; }
  std::int64_t columns() const { return columns_; }
  unit const* of(std::int64_t token) const { return values_.data() + token * units(); }

 private:
  std::int64_t units() const { return (columns_ + unit::columns - 1) / unit::columns; }

  template <class Source>
  void fill_unit(std::int64_t token, std::int64_t at, Source const& x) const {
    auto const first = at * unit::columns, size = std::min(unit::columns, columns_ - first);
    float row[unit::columns];
    x(token, first, size, row);
    std::fill(row + size, row + unit::columns, 0.0f);
    auto& out = values_.data()[token * units() + at];
    for (std::int64_t b = 0; b < unit::columns / 16; ++b) block_encoder<Kernel::digits>::run(row + 16 * b, b, out);
  }

  std::int64_t tokens_ = 0;
  std::int64_t columns_ = 0;
  aligned_buffer<unit> values_;
};

/// What is left of a strip's rows behind whole units, filled up with zeros.
template <int Rows>
struct strip_tail {
  std::uint8_t codes[Rows][128];
  std::uint8_t scales[Rows][16];

  strip_tail(packed_strip const& w, std::int64_t first, std::int64_t columns) noexcept : codes{}, scales{} {
    for (int r = 0; r < Rows; ++r) {
      std::copy_n(w.codes + r * w.code_step + first / 2, (columns - first) / 2, codes[r]);
      std::copy_n(w.scales + r * w.scale_step + first / 16, (columns - first) / 16, scales[r]);
    }
  }
  packed_strip strip() const noexcept { return {codes[0], 128, scales[0], 16, 0}; }
};

}  // namespace detail

CULL_NAMESPACE_END

#endif
