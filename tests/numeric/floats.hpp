// SPDX-License-Identifier: Apache-2.0
// Inputs for codecs, and what "nearest" means, written without bit tricks.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#if __has_include(<cuda_fp4.h>) && __has_include(<cuda_fp8.h>)
#define CULL_TEST_CUDA_CODECS 1
#include <cuda_fp4.h>
#include <cuda_fp8.h>
#endif

namespace numeric_test {

/// Calls `f` with every bf16 as a float, then with 2^24 floats spread over all 2^32 patterns (an odd stride visits each residue).
template <class F>
void for_floats(F&& f) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) f(std::bit_cast<float>(bits << 16));
  std::uint32_t word = 12345;
  for (std::uint32_t n = 0; n < (1u << 24); ++n, word += 0x9e3779b1u) f(std::bit_cast<float>(word));
}

/// The code whose value is nearest, ties to the even code, beyond the last value the last code. `values` ascend from 0; the search is
/// over exact midpoints.
class nearest_by_search {
 public:
  explicit nearest_by_search(std::vector<double> values) : values_(std::move(values)) {}
  unsigned operator()(double magnitude) const {
    unsigned code = 0;
    while (code + 1 < values_.size()) {
      double const middle = (values_[code] + values_[code + 1]) / 2;
      if (magnitude < middle || (magnitude == middle && code % 2 == 0)) break;
      ++code;
    }
    return code;
  }

 private:
  std::vector<double> values_;
};

}  // namespace numeric_test
