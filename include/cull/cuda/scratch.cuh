// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>

#include <cuda_runtime_api.h>

#include <cull/cuda/check.cuh>

CULL_NAMESPACE_BEGIN

/// Where temporary device memory comes from: the members of a stream-ordered `cuda::mr` resource. A copyable handle; memory is
/// asked for and given back in the order of the stream.
template <class R>
concept scratch_resource = std::copy_constructible<R> && requires(R const& r, cudaStream_t s, std::size_t n, void* p) {
  { r.allocate(s, n, n) } -> std::same_as<void*>;
  r.deallocate(s, p, n, n);
};

/// The current device's memory pool: `cudaMallocAsync`, `cudaFreeAsync`.
struct stream_ordered_scratch {
  void* allocate(cudaStream_t stream, std::size_t bytes, std::size_t) const {
    void* memory = nullptr;
    detail::check_cuda(cudaMallocAsync(&memory, bytes, stream), "allocating scratch memory");
    return memory;
  }
  // A failure here is the failure of earlier work, which a later call reports; destructors must not throw.
  void deallocate(cudaStream_t stream, void* memory, std::size_t, std::size_t) const noexcept { cudaFreeAsync(memory, stream); }
};

CULL_NAMESPACE_END
