// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// Division of numbers below 2^31 by a number that a launch knows, as a multiplication and a shift (Granlund and Montgomery,
/// "Division by Invariant Integers using Multiplication"): a device has no instruction for it.
class divider {
 public:
  divider() = default;
  constexpr explicit divider(std::uint32_t by) : by_(by) {
    while ((std::uint64_t{1} << (shift_ - 31)) < by) ++shift_;
    // With 2^(s-1) < by <= 2^s, the product exceeds n * 2^(31+s) / by by at most n * 2^-31 of 2^(31+s) / by: less than a step.
    factor_ = static_cast<std::uint32_t>((std::uint64_t{1} << shift_) / by + 1);
  }

  CULL_HD constexpr std::uint32_t by() const { return by_; }
  CULL_HD constexpr std::uint32_t quotient(std::uint32_t n) const {
    return static_cast<std::uint32_t>(std::uint64_t{n} * factor_ >> shift_);
  }

 private:
  std::uint32_t by_ = 1;
  std::uint32_t factor_ = 0x80000001u;
  std::uint32_t shift_ = 31;
};

}  // namespace simt

CULL_NAMESPACE_END
