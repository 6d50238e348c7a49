// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>

#include <cuda_runtime_api.h>

#include <cull/cuda/check.cuh>

CULL_NAMESPACE_BEGIN

namespace detail {

template <class R>
concept allocates_on_stream = requires(R& r, cudaStream_t s, std::size_t n, void* p) {
  { r.allocate(s, n, n) } -> std::same_as<void*>;
  r.deallocate(s, p, n, n);
};
template <class R>
concept allocates_async = requires(R& r, cudaStream_t s, std::size_t n, void* p) {
  { r.allocate_async(n, n, s) } -> std::same_as<void*>;
  r.deallocate_async(p, n, n, s);
};

}  // namespace detail

/// Where temporary device memory comes from: a stream-ordered `cuda::mr` resource, by the members `allocate(stream, bytes,
/// alignment)` that CCCL has from 3.1 on or by `allocate_async(bytes, alignment, stream)` of those before it. A copyable handle
/// (`cuda::mr::async_resource_ref` of a resource that is none); memory is asked for and given back in the order of the stream.
template <class R>
concept scratch_resource = std::copy_constructible<R> &&(detail::allocates_on_stream<R> || detail::allocates_async<R>);

namespace detail {

template <scratch_resource R>
void* allocate_scratch(R& from, cudaStream_t stream, std::size_t bytes, std::size_t alignment) {
  if constexpr (allocates_on_stream<R>) {
    return from.allocate(stream, bytes, alignment);
  } else {
    return from.allocate_async(bytes, alignment, stream);
  }
}
template <scratch_resource R>
void deallocate_scratch(R& to, cudaStream_t stream, void* memory, std::size_t bytes, std::size_t alignment) {
  if constexpr (allocates_on_stream<R>) {
    to.deallocate(stream, memory, bytes, alignment);
  } else {
    to.deallocate_async(memory, bytes, alignment, stream);
  }
}

}  // namespace detail

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
