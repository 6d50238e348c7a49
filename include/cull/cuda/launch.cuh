// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <cuda_runtime.h>

#include <cull/cuda/check.cuh>
#include <cull/cuda/context.hpp>
#include <cull/cuda/device_context.cuh>

CULL_NAMESPACE_BEGIN

namespace detail {

/// The architectures that a translation unit's device code was compiled for, as a type.
template <int...>
struct architectures {};

/// What a kernel can have without asking the driver; beyond, shared memory is dynamic.
inline constexpr std::size_t static_shared_limit = 48 * 1024;

template <class Body>
inline constexpr bool dynamic_shared = sizeof(typename Body::Shared) > static_shared_limit;

/// Blocks that must fit a multiprocessor: `Body::min_blocks` where it says so.
template <class Body>
constexpr unsigned min_blocks() {
  if constexpr (requires { Body::min_blocks; }) {
    return Body::min_blocks;
  } else {
    return 1;
  }
}

/// Every kernel of the library. `Architectures` is in its name, and it is hidden, so that two objects compiled for different
/// devices, or two shared libraries, never run each other's code.
template <class Architectures, class Body, class... Arguments>
CULL_HIDDEN __global__ void __launch_bounds__(Body::threads, min_blocks<Body>()) kernel(Body body, Arguments... arguments) {
  if constexpr (dynamic_shared<Body>) {
    extern __shared__ __align__(128) unsigned char cull_dynamic_shared[];
    body(simt::device_context{}, *reinterpret_cast<typename Body::Shared*>(cull_dynamic_shared), arguments...);
  } else {
    __shared__ typename Body::Shared shared;
    body(simt::device_context{}, shared, arguments...);
  }
}

template <class Architectures, class Body, class... Arguments>
CULL_HIDDEN void launch_body(cudaStream_t stream, simt::grid_size grid, Body const& body, Arguments... arguments) {
  if (grid.x == 0 || grid.y == 0) return;
  auto const entry = &kernel<Architectures, Body, Arguments...>;
  std::size_t shared = 0;
  if constexpr (dynamic_shared<Body>) {
    shared = sizeof(typename Body::Shared);
    check_cuda(cudaFuncSetAttribute(entry, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)),
               "asking for shared memory");
  }
  entry<<<dim3{grid.x, grid.y}, Body::threads, shared, stream>>>(body, arguments...);
  check_cuda(cudaGetLastError(), "launching a kernel");
}

}  // namespace detail

CULL_NAMESPACE_END
