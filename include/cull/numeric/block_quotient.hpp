// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// x / divisor for the values of a block, by one reciprocal and three instructions each, where a true division takes ten and a
/// branch. Its e2m1 code is that of the true quotient, rounded to f32, if `serves(divisor, amax)`; -0 / divisor is +0.
///
/// Why: with q = x * reciprocal near x / divisor and its exact rest e = x - q * divisor, q + e * reciprocal is x / divisor but
/// for 2^-20 of a step of f32, and then rounded. So the code can differ only where x / divisor is that close to the middle
/// between the border of two codes and an f32 beside it; that leaves, for each border and divisor, the two x around divisor *
/// middle, and both scale with powers of two. The test tries them all: 7 borders, 2^23 divisors, every reciprocal that the
/// hardware may begin with.
struct block_quotient {
  float divisor;
  float reciprocal;

  static constexpr float least = 0x1p-100f;  // the rest's last bit is 2^-49 of the divisor
  static constexpr float most = 0x1p+100f;

  /// Not of all ones: their reciprocal lies next to the middle of two f32, and refining it does not end at the nearer.
  CULL_HD static bool serves(float divisor, float amax, float limit = most) {
    bool const all_ones = (__builtin_bit_cast(std::uint32_t, divisor) & 0x7fffffu) == 0x7fffffu;
    return divisor >= least && divisor <= limit && amax <= 16.0f * divisor && !all_ones;
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD static float reciprocal_of(C const& c, float divisor) {
    float const first = c.reciprocal(divisor);
    return c.fma(c.fma(-divisor, first, 1.0f), first, first);
  }

  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD float operator()(C const& c, float x) const {
    float const quotient = c.fma(x, reciprocal, 0.0f);
    return c.fma(c.fma(-quotient, divisor, x), reciprocal, quotient);
  }
};

/// a / divisor, rounded to nearest, by the divisor's reciprocal, itself rounded to nearest: Markstein's sequence ("Computation of
/// elementary functions on the IBM RISC System/6000 processor", 1990). A test tries all divisors that it is used with. Both are
/// zero or normal numbers, and `a` * 2^-48 is one.
CULL_EXEC_CHECK_OFF
template <class C>
CULL_HD float quotient_by_reciprocal(C const& c, float a, float divisor, float reciprocal) {
  float const quotient = a * reciprocal;
  return c.fma(c.fma(-quotient, divisor, a), reciprocal, quotient);
}

}  // namespace detail

CULL_NAMESPACE_END
