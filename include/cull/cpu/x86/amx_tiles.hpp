// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cpu/isa.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// The tile registers: eight of 16 rows of 64 bytes. By assembly, since neither intrinsics nor targets of the compilers that this
/// library supports agree on them; nothing else uses the registers.
struct amx_tiles {
  /// All eight at full size, until `release`.
  static void configure() noexcept {
    struct alignas(64) {
      std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
      std::uint16_t bytes_in_row[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } const full;
    asm volatile("ldtilecfg %0" : : "m"(full));
  }
  /// Without it each switch of threads would save them.
  static void release() noexcept { asm volatile("tilerelease"); }

  template <int tile>
  static void zero() noexcept {
    asm volatile("tilezero %%tmm%c0" : : "i"(tile));
  }
  /// Rows of 64 bytes, `step` bytes apart.
  template <int tile>
  static void load(void const* from, std::int64_t step) noexcept {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(step), "i"(tile) : "memory");
  }
  template <int tile>
  static void store(void* to, std::int64_t step) noexcept {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(step), "i"(tile) : "memory");
  }
  /// f32 sums[m][n] += over k = 0..15 of a[m][2k] b[k][2n] and, apart, of a[m][2k + 1] b[k][2n + 1], in bf16 without subnormals.
  template <int sums, int a, int b>
  static void add_products() noexcept {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sums), "i"(a), "i"(b));
  }
};

}  // namespace detail

CULL_NAMESPACE_END

#endif
