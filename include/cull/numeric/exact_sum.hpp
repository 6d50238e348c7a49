// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// What became of a number offered to an `exact_sum`.
enum class sum_status { added, not_finite, out_of_range };

/// A sum without an order: 160-bit fixed point, unit 2^-80, in five limbs of 32 payload bits held in 64-bit words.
///
/// Addends are f64 with |x| < 2^64; what lies below 2^-80 is rounded to it, ties to even, so the sum of n addends is exact to n *
/// 2^-81. Adding and merging commute and associate bit for bit, hence any split over batches, threads or machines gives the same
/// state. A canonical state (after `carry`) is unique for its value: limbs 0..3 in [0, 2^32), the last one signed.
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
    auto const status = split(value, [this](int limb, std::int64_t addend) { limbs_[static_cast<std::size_t>(limb)] += addend; });
    if (status == sum_status::added && ++pending_ == adds_between_carries) carry();
    return status;
  }

  /// The same for |value| < 2^96, such as the squares of sums.
  constexpr sum_status try_add_wide(double value) noexcept {
    auto const add = [this](int limb, std::int64_t addend) { limbs_[static_cast<std::size_t>(limb)] += addend; };
    auto const status = split<wide_bits>(value, add);
    if (status == sum_status::added && ++pending_ == adds_between_carries) carry();
    return status;
  }

  /// Addends of `try_add_wide` are below 2 to this power.
  static constexpr int wide_bits = 96;

  /// What `try_add` adds to which limbs: calls `add(limb, addend)` up to three times, each addend below 2^33 in magnitude, or
  /// with `Bits` of `wide_bits` below 2^49 for the last limb. For states that are kept elsewhere, such as a device's, where limbs
  /// take atomic additions; between carries at most 2^30 of them.
  CULL_EXEC_CHECK_OFF
  template <int Bits = 64, class Add>
  CULL_HD static constexpr sum_status split(double value, Add add) noexcept {
    static_assert(Bits == 64 || Bits == wide_bits);
    auto const word = __builtin_bit_cast(std::uint64_t, value);
    int const exponent = static_cast<int>((word >> 52) & 0x7ffu);
    if (exponent == 0x7ff) return sum_status::not_finite;
    if (exponent >= 1023 + Bits) return sum_status::out_of_range;
    if (exponent == 0) return sum_status::added;  // zero, or far below the unit
    auto const mantissa = (word & 0xfffffffffffffu) | 0x10000000000000u;
    split_shifted<Bits>(mantissa, exponent - 1075 + fraction_bits, (word >> 63) != 0, add);
    return sum_status::added;
  }

  /// Adds `value`; throws `errc::not_finite` or `errc::out_of_range`, the sum unchanged.
  constexpr void add(double value) {
    switch (try_add(value)) {
      case sum_status::added:
        return;
      case sum_status::not_finite:
        throw error{errc::not_finite, "a sum cannot take NaN or infinity"};
      case sum_status::out_of_range:
        throw error{errc::out_of_range, "a sum takes numbers below 2^64 in magnitude only"};
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
  double value() const noexcept { return value_of(limbs_.data()); }

  /// The same of limbs that are kept elsewhere, canonical or not.
  CULL_HD static double value_of(std::int64_t const* limbs) noexcept {
    std::int64_t magnitude[limb_count];
    carry_into(magnitude, limbs, 1);
    if (magnitude[limb_count - 1] >= 0) return round_magnitude(magnitude);
    carry_into(magnitude, limbs, -1);
    return -round_magnitude(magnitude);
  }

  friend constexpr bool operator==(exact_sum const& a, exact_sum const& b) noexcept { return a.limbs() == b.limbs(); }

 private:
  static constexpr std::uint32_t adds_between_carries = 1u << 30;

  CULL_EXEC_CHECK_OFF
  template <int Bits, class Add>
  CULL_HD static constexpr void split_shifted(std::uint64_t mantissa, int shift, bool negative, Add add) noexcept {
    if (shift < 0) {
      mantissa = shifted_right(mantissa, -shift);
      shift = 0;
    }
    int const first = shift / 32;
    int const offset = shift % 32;
    auto const low = (mantissa & 0xffffffffu) << offset;
    auto const high = (mantissa >> 32) << offset;
    std::int64_t const sign = negative ? -1 : 1;
    add(first, sign * static_cast<std::int64_t>(low & 0xffffffffu));
    // The last limb has no other above it and takes the rest.
    bool const last = Bits > 64 && first + 2 == limb_count;
    add(first + 1, sign * static_cast<std::int64_t>((low >> 32) + (last ? high : high & 0xffffffffu)));
    if (!last) add(first + 2, sign * static_cast<std::int64_t>(high >> 32));
  }

  /// mantissa / 2^bits to the nearest integer, ties to even.
  CULL_HD static constexpr std::uint64_t shifted_right(std::uint64_t mantissa, int bits) noexcept {
    if (bits > 54) return 0;
    auto const quotient = mantissa >> bits;
    auto const rest = mantissa - (quotient << bits);
    auto const half = std::uint64_t{1} << (bits - 1);
    return quotient + ((rest > half || (rest == half && (quotient & 1u))) ? 1u : 0u);
  }

  CULL_HD static void carry_into(std::int64_t* to, std::int64_t const* from, std::int64_t sign) noexcept {
    std::int64_t above = 0;
    CULL_UNROLL_FULLY
    for (int i = 0; i < limb_count; ++i) {
      std::int64_t const limb = sign * from[i] + above;
      above = limb >> 32;
      to[i] = i + 1 < limb_count ? limb & 0xffffffff : limb;
    }
  }

  /// The highest 64 bits from the first that is set, and whether any below is; up to 53 bits are exact in f64, beyond them bit 0
  /// can stand for what is left out without changing the rounding.
  CULL_HD static double round_magnitude(std::int64_t const* limbs) noexcept {
    std::uint64_t head = 0;
    int exponent = -fraction_bits;
    bool rest = false;
    CULL_UNROLL_FULLY
    for (int i = limb_count - 1; i >= 0; --i) {
      auto const limb = static_cast<std::uint64_t>(limbs[i]);
      int const room = head == 0 ? 64 : leading_zeros(head);
      if (room >= 32) {
        head = (head << 32) | limb;
      } else {
        head = (head << room) | (limb >> (32 - room));
        rest = rest || (limb << (32 + room)) != 0;
        exponent += 32 - room;
      }
    }
    if (rest) head |= 1u;
    // A power of two within [2^-80, 2^80]: the product is exact.
    return static_cast<double>(head) * __builtin_bit_cast(double, static_cast<std::uint64_t>(1023 + exponent) << 52);
  }

  CULL_HD static constexpr int leading_zeros(std::uint64_t word) noexcept {
    int zeros = 0;
    CULL_UNROLL_FULLY
    for (int bits = 32; bits > 0; bits /= 2) {
      if ((word >> (64 - bits)) == 0) {
        zeros += bits;
        word <<= bits;
      }
    }
    return zeros;
  }

  limb_array limbs_{};
  std::uint32_t pending_ = 0;
};

CULL_NAMESPACE_END
