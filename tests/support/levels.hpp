// SPDX-License-Identifier: Apache-2.0
// The same test at every level of instructions that this machine has.
#pragma once

#include <doctest/doctest.h>

#include <cstdint>
#include <utility>
#include <vector>

#include <cull/cpu/on_cpu.hpp>

namespace test_support {

inline std::vector<cull::isa> levels() {
  std::vector<cull::isa> out;
  for (auto const each : {cull::isa::portable, cull::isa::avx2, cull::isa::avx512, cull::isa::avx512_bf16, cull::isa::amx_bf16}) {
    if (each <= cull::best_isa()) out.push_back(each);
  }
  return out;
}

inline cull::isa current_level = cull::isa::portable;

/// The executor under test.
inline cull::on_cpu cpu(int threads = 1) { return {threads, current_level}; }

template <class Test>
void at_every_level(Test const& test) {
  for (auto const each : levels()) {
    current_level = each;
    auto const number = static_cast<int>(each);
    CAPTURE(number);
    test();
  }
  current_level = cull::isa::portable;
}

/// What a product over `cols` columns may lose of the sum of its terms' magnitudes before its last rounding: f64 of up to some
/// hundred terms, or 16 chains of f32; with tiles, of sums of 16 and then two.
inline long double sum_error(std::int64_t cols) {
  if (current_level == cull::isa::portable) return 1e-13L;
  if (current_level == cull::isa::amx_bf16) return static_cast<long double>(cols / 32 + 20) * 0x1p-24L;
  return static_cast<long double>(cols / 16 + 8) * 0x1p-24L;
}

}  // namespace test_support
