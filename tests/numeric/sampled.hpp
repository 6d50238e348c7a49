// SPDX-License-Identifier: Apache-2.0
// Floats spread over all patterns.
#pragma once

#include <bit>
#include <cstdint>

namespace numeric_test {

/// Calls `f` with every bf16 as a float, then with 2^24 floats spread over all 2^32 patterns (an odd stride visits each residue).
template <class F>
void for_floats(F&& f) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) f(std::bit_cast<float>(bits << 16));
  std::uint32_t word = 12345;
  for (std::uint32_t n = 0; n < (1u << 24); ++n, word += 0x9e3779b1u) f(std::bit_cast<float>(word));
}

}  // namespace numeric_test
