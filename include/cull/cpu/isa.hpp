// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>

// Kernels for instructions beyond the baseline: one binary holds all, each function compiled for its own target.
#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define CULL_X86 1
#else
#define CULL_X86 0
#endif

CULL_NAMESPACE_BEGIN

/// Instructions that the kernels of `on_cpu` may use; each level includes those before it.
enum class isa : std::uint8_t {
  portable,     ///< the reference: plain C++ in double precision
  avx2,         ///< and FMA
  avx512,       ///< F, BW, DQ, VL
  avx512_bf16,  ///< products of bf16 pairs
};

/// The highest level that this machine has. Asks the processor once.
inline isa best_isa() noexcept {
#if CULL_X86
  static isa const found = [] {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return isa::portable;
    bool const wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (!wide) return isa::avx2;
    return __builtin_cpu_supports("avx512bf16") ? isa::avx512_bf16 : isa::avx512;
  }();
  return found;
#else
  return isa::portable;
#endif
}

CULL_NAMESPACE_END
