// SPDX-License-Identifier: Apache-2.0
// The only header that tests __CUDACC__: annotations, and the namespace that carries the version.
#pragma once

#include <cull/version.hpp>

// clang's CUDA headers define the second one whatever the flags are.
#if defined(__FAST_MATH__) || (defined(__USE_FAST_MATH__) && !defined(__clang__))
#error "cull: compile without -ffast-math: ties, tiny scales and NaN checks depend on IEEE arithmetic"
#endif

#if defined(__CUDACC__)
#define CULL_HD __host__ __device__
// Before a template that calls what its argument, a thread context, has on one side only.
#define CULL_EXEC_CHECK_OFF _Pragma("nv_exec_check_disable")
#else
#define CULL_HD
#define CULL_EXEC_CHECK_OFF
#endif
// The device's pass only: host compilers warn of a pragma that is not theirs.
#if defined(__CUDA_ARCH__)
#define CULL_UNROLL_FULLY _Pragma("unroll")
#define CULL_UNROLL_NOT _Pragma("unroll 1")
#else
#define CULL_UNROLL_FULLY
#define CULL_UNROLL_NOT
#endif

// What the device code of this translation unit was compiled for: part of the names of everything that launches kernels.
#if defined(__CUDA_ARCH_LIST__)
#define CULL_CUDA_ARCHITECTURES __CUDA_ARCH_LIST__
#else
#define CULL_CUDA_ARCHITECTURES
#endif

// Of this shared object only: a kernel must not be launched with the code of another's.
#define CULL_HIDDEN __attribute__((visibility("hidden")))

// Objects of two cull versions linked into one program must not meet under one name.
#define CULL_NAMESPACE_BEGIN \
  namespace cull {           \
  inline namespace v0_1 {
#define CULL_NAMESPACE_END \
  }                        \
  }

CULL_NAMESPACE_BEGIN

inline constexpr char version_string[] = "0.1.0";

CULL_NAMESPACE_END
