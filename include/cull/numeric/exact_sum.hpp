// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// What became of a number offered to an `exact_sum`.
enum class sum_status { added, not_finite, out_of_range };

/// A sum without an order: 160-bit fixed point, unit 2^-80, in five limbs of 32 payload bits held in 64-bit words.
///
/// Addends are f64 with |x| < 2^64; what lies below 2^-80 is rounded to it, ties to even, so the sum of n addends is exact to n * 2^-81.
/// Adding and merging commute and associate bit for bit, hence any split over batches, threads or machines gives the same state.
/// A canonical state (after `carry`) is unique for its value: limbs 0..3 in [0, 2^32), the last one signed.
class exact_sum {
 public:
  static constexpr int limb_count = 5;
  static constexpr int fraction_bits = 80;
  using limb_array = std::array<std::int64_t, limb_count>;

  constexpr exact_sum() = default;
  /// A state from limbs that were saved or reduced elsewhere; each |limb| must be below 2^62.
  static constexpr exact_sum from_limbs(limb_array const& limbs) noexcept {
    exact_sum sum;
    sum.limbs_ = limbs;
    sum.carry();
    return sum;
  }

  /// Adds `value`, or says why not and leaves the sum as it was.
  constexpr sum_status try_add(double value) noexcept {
    auto const word = __builtin_bit_cast(std::uint64_t, value);
    int const exponent = static_cast<int>((word >> 52) & 0x7ffu);
    if (exponent == 0x7ff) return sum_status::not_finite;
    if (exponent >= 1023 + 64) return sum_status::out_of_range;
    if (exponent == 0) return sum_status::added;  // zero, or far below the unit
    auto const mantissa = (word & 0xfffffffffffffu) | 0x10000000000000u;
    add_shifted(mantissa, exponent - 1075 + fraction_bits, (word >> 63) != 0);
    return sum_status::added;
  }

  /// Adds `value`; throws `errc::not_finite` or `errc::out_of_range`, the sum unchanged.
  constexpr void add(double value) {
    switch (try_add(value)) {
      case sum_status::added: return;
      case sum_status::not_finite: throw error{errc::not_finite, "a sum cannot take NaN or infinity"};
      case sum_status::out_of_range: throw error{errc::out_of_range, "a sum takes numbers below 2^64 in magnitude only"};
    }
  }

  constexpr void merge(exact_sum other) noexcept {
    carry();
    other.carry();
    for (std::size_t i = 0; i < limb_count; ++i) limbs_[i] += other.limbs_[i];
    carry();
  }

  /// Brings the limbs to their canonical form; the value stays.
  constexpr void carry() noexcept {
    for (std::size_t i = 0; i + 1 < limb_count; ++i) {
      limbs_[i + 1] += limbs_[i] >> 32;
      limbs_[i] &= 0xffffffff;
    }
    pending_ = 0;
  }

  constexpr limb_array limbs() const noexcept {
    exact_sum canonical = *this;
    canonical.carry();
    return canonical.limbs_;
  }

  /// The sum as f64, rounded once, ties to even.
  double value() const noexcept {
    auto magnitude = limbs();
    bool const negative = magnitude[4] < 0;
    if (negative) magnitude = negated();
    return negative ? -round_magnitude(magnitude) : round_magnitude(magnitude);
  }

  friend constexpr bool operator==(exact_sum const& a, exact_sum const& b) noexcept { return a.limbs() == b.limbs(); }

 private:
  static constexpr std::uint32_t adds_between_carries = 1u << 30;

  constexpr void add_shifted(std::uint64_t mantissa, int shift, bool negative) noexcept {
    if (shift < 0) {
      mantissa = shifted_right(mantissa, -shift);
      shift = 0;
    }
    auto const first = static_cast<std::size_t>(shift / 32);
    int const offset = shift % 32;
    auto const low = (mantissa & 0xffffffffu) << offset;
    auto const high = (mantissa >> 32) << offset;
    std::int64_t const sign = negative ? -1 : 1;
    limbs_[first] += sign * static_cast<std::int64_t>(low & 0xffffffffu);
    limbs_[first + 1] += sign * static_cast<std::int64_t>((low >> 32) + (high & 0xffffffffu));
    limbs_[first + 2] += sign * static_cast<std::int64_t>(high >> 32);
    if (++pending_ == adds_between_carries) carry();
  }

  /// mantissa / 2^bits to the nearest integer, ties to even.
  static constexpr std::uint64_t shifted_right(std::uint64_t mantissa, int bits) noexcept {
    if (bits > 54) return 0;
    auto const quotient = mantissa >> bits;
    auto const rest = mantissa - (quotient << bits);
    auto const half = std::uint64_t{1} << (bits - 1);
    return quotient + ((rest > half || (rest == half && (quotient & 1u))) ? 1u : 0u);
  }

  constexpr limb_array negated() const noexcept {
    exact_sum other;
    for (std::size_t i = 0; i < limb_count; ++i) other.limbs_[i] = -limbs_[i];
    return other.limbs();
  }

  static double round_magnitude(limb_array const& limbs) noexcept {
    int top = limb_count - 1;
    while (top > 0 && limbs[static_cast<std::size_t>(top)] == 0) --top;
    auto head = static_cast<std::uint64_t>(limbs[static_cast<std::size_t>(top)]);
    if (head == 0) return 0.0;
    // Fill `head` to 64 bits from the limbs below; what is left over only matters as "not zero".
    int exponent = 32 * top;
    int next = top - 1;
    while (next >= 0 && std::countl_zero(head) > 0) {
      int const take = std::min(32, std::countl_zero(head));
      auto const limb = static_cast<std::uint64_t>(limbs[static_cast<std::size_t>(next)]);
      head = (head << take) | (limb >> (32 - take));
      exponent -= take;
      if (take < 32) return finish(head, exponent, (limb << (32 + take)) != 0 || any_below(limbs, next));
      --next;
    }
    return finish(head, exponent, any_below(limbs, next + 1));
  }

  static bool any_below(limb_array const& limbs, int end) noexcept {
    for (int i = 0; i < end; ++i) {
      if (limbs[static_cast<std::size_t>(i)] != 0) return true;
    }
    return false;
  }

  static double finish(std::uint64_t head, int exponent, bool sticky) noexcept {
    // Up to 53 bits are exact in f64; beyond, bit 0 of a 64-bit head can carry the sticky bit without changing the rounding.
    if (sticky) head |= 1u;
    return std::ldexp(static_cast<double>(head), exponent - fraction_bits);
  }

  limb_array limbs_{};
  std::uint32_t pending_ = 0;
};

CULL_NAMESPACE_END
