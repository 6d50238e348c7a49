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

#if CULL_X86
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

CULL_NAMESPACE_BEGIN

/// Instructions that the kernels of `on_cpu` may use; each level includes those before it.
enum class isa : std::uint8_t {
  portable,     ///< the reference: plain C++ in double precision
  avx2,         ///< FMA and F16C
  avx512,       ///< F, BW, DQ, VL
  avx512_bf16,  ///< products of bf16 pairs, VNNI, and VBMI, which of cores with the former Cooper Lake alone lacks
  amx_bf16,     ///< the same on tile registers, with sums of their own
};

#if CULL_X86
namespace detail {

/// Whether half precision is converted, of which clang 14 cannot ask.
inline bool has_f16c() noexcept {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c >> 29 & 1u) != 0;
}

/// Whether the processor has tile registers and bf16 products on them, and the system lends them: it is asked for them, which
/// holds for the whole process and makes what it saves for a signal 8 KiB larger.
inline bool may_use_amx() noexcept {
#if defined(__linux__)
  unsigned a = 0, b = 0, c = 0, d = 0;
  bool const known = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d >> 22 & 1u) != 0 && (d >> 24 & 1u) != 0;
  constexpr long ask_for_state = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return known && ::syscall(SYS_arch_prctl, ask_for_state, tile_data) == 0;
#else
  return false;
#endif
}

}  // namespace detail
#endif

/// The highest level that this machine has. Asks the processor, and the system for tile registers, once.
inline isa best_isa() noexcept {
#if CULL_X86
  static isa const found = [] {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !detail::has_f16c()) return isa::portable;
    bool const wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (!wide) return isa::avx2;
    bool const bytes = __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni");
    if (!bytes || !__builtin_cpu_supports("avx512bf16")) return isa::avx512;
    return detail::may_use_amx() ? isa::amx_bf16 : isa::avx512_bf16;
  }();
  return found;
#else
  return isa::portable;
#endif
}

CULL_NAMESPACE_END
