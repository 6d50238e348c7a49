// SPDX-License-Identifier: Apache-2.0
// In front of the library's header: the tile registers by Intel's description of their instructions.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include <cull/config.hpp>
#include <cull/cpu/x86/targets.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

struct amx_tiles {
  static void configure() noexcept {
    if (configured) std::abort();
    configured = true;
    std::memset(bytes, 0xee, sizeof bytes);
  }
  static void release() noexcept { configured = false; }

  template <int tile>
  static void zero() noexcept {
    check();
    std::memset(bytes[tile], 0, sizeof bytes[tile]);
  }
  template <int tile>
  static void load(void const* from, std::int64_t step) noexcept {
    check();
    for (int row = 0; row < 16; ++row) std::memcpy(bytes[tile][row], static_cast<char const*>(from) + row * step, 64);
  }
  template <int tile>
  static void store(void* to, std::int64_t step) noexcept {
    check();
    for (int row = 0; row < 16; ++row) std::memcpy(static_cast<char*>(to) + row * step, bytes[tile][row], 64);
  }
  template <int sums, int a, int b>
  static void add_products() noexcept {
    check();
    for (int m = 0; m < 16; ++m) {
      for (int n = 0; n < 16; ++n) {
        float even = 0, odd = 0;
        for (int k = 0; k < 16; ++k) {
          even = fused(value(a, m, 2 * k), value(b, k, 2 * n), even);
          odd = fused(value(a, m, 2 * k + 1), value(b, k, 2 * n + 1), odd);
        }
        float sum;
        std::memcpy(&sum, bytes[sums][m] + 4 * n, 4);
        sum = emulated::flushed(emulated::flushed(sum) + emulated::flushed(even + odd));
        std::memcpy(bytes[sums][m] + 4 * n, &sum, 4);
      }
    }
  }

 private:
  static void check() noexcept {
    if (!configured) std::abort();
  }
  static float value(int tile, int row, int column) noexcept {
    std::uint16_t bits;
    std::memcpy(&bits, bytes[tile][row] + 2 * column, 2);
    return emulated::flushed(emulated::widened(bits));
  }
  static float fused(float a, float b, float c) noexcept { return emulated::flushed(std::fma(a, b, c)); }

  static inline thread_local bool configured = false;
  static inline thread_local unsigned char bytes[8][16][64];
};

}  // namespace detail

CULL_NAMESPACE_END
