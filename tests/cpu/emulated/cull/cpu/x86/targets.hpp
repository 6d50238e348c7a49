// SPDX-License-Identifier: Apache-2.0
// In front of the library's header: its intrinsics are functions in plain C++, SIMD Everywhere's where it has them, so that a
// kernel for AVX-512 gives its bits on any machine.
#pragma once

#include <cull/cpu/isa.hpp>

#define SIMDE_ENABLE_NATIVE_ALIASES
#if defined(__clang__)
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wconversion"
#else
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wpedantic"
#endif
#include <simde/x86/avx2.h>
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>
#if defined(__clang__)
#pragma clang diagnostic pop
#else
#pragma GCC diagnostic pop
#endif

#include <cpu/emulated/intrinsics.hpp>

#define CULL_UNROLL(count)
#define CULL_IN_REGISTERS(a, b, c) static_cast<void>(0)
#define CULL_TARGET_AVX2
#define CULL_TARGET_AVX512
#define CULL_TARGET_AVX512_VBMI
#define CULL_TARGET_AVX512_VNNI
#define CULL_TARGET_AVX512_BF16
