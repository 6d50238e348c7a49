// SPDX-License-Identifier: Apache-2.0
// The only header that tests __CUDACC__: annotations, and the namespace that carries the version.
#pragma once

#include <cull/version.hpp>

#if defined(__FAST_MATH__)
#error "cull: compile without -ffast-math: ties, tiny scales and NaN checks depend on IEEE arithmetic"
#endif

#if defined(__CUDACC__)
#define CULL_HD __host__ __device__
#else
#define CULL_HD
#endif

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
