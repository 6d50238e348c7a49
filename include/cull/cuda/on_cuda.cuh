// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <cuda_runtime_api.h>

#include <cull/cuda/context.hpp>
#include <cull/cuda/launch.cuh>
#include <cull/cuda/scratch.cuh>

CULL_NAMESPACE_BEGIN

/// Executor: the current device, in order of `stream`, which may be another engine's. Calls enqueue and return: nothing waits for
/// the device but `synchronize()`, what says so in its contract, and the driver's own. `Scratch` supplies temporary device
/// memory. `Architectures` keeps objects compiled for different devices apart when they are linked into one program. Failures are
/// `cull::error` with `errc::device`; those of kernels surface at a later call, as always in CUDA.
template <class Architectures, scratch_resource Scratch>
class basic_on_cuda {
 public:
  using memory_space = device_memory;

  basic_on_cuda() = default;
  explicit basic_on_cuda(cudaStream_t stream, Scratch scratch = {}) : stream_(stream), scratch_(scratch) {}

  cudaStream_t stream() const { return stream_; }

  template <simt::kernel_body Body, class... Arguments>
  void launch(simt::grid_size grid, Body const& body, Arguments... arguments) const {
    detail::launch_body<Architectures>(stream_, grid, body, arguments...);
  }
  void* allocate(std::size_t bytes) const {
    return bytes == 0 ? nullptr : detail::allocate_scratch(scratch_, stream_, bytes, scratch_alignment);
  }
  void release(void* memory, std::size_t bytes) const {
    if (bytes != 0) detail::deallocate_scratch(scratch_, stream_, memory, bytes, scratch_alignment);
  }
  void fill_zero(void* to, std::size_t bytes) const {
    if (bytes != 0) detail::check_cuda(cudaMemsetAsync(to, 0, bytes, stream_), "clearing device memory");
  }
  void copy_in(void* to, void const* from, std::size_t bytes) const { copy(to, from, bytes, cudaMemcpyHostToDevice); }
  void copy_out(void* to, void const* from, std::size_t bytes) const { copy(to, from, bytes, cudaMemcpyDeviceToHost); }
  /// Waits until everything enqueued on the stream is done, and reports what failed.
  void synchronize() const { detail::check_cuda(cudaStreamSynchronize(stream_), "waiting for the stream"); }

 private:
  static constexpr std::size_t scratch_alignment = 256;

  void copy(void* to, void const* from, std::size_t bytes, cudaMemcpyKind kind) const {
    if (bytes != 0) detail::check_cuda(cudaMemcpyAsync(to, from, bytes, kind, stream_), "copying between host and device");
  }

  cudaStream_t stream_ = nullptr;
  mutable Scratch scratch_{};  // a handle: members of cuda::mr resources are not const
};

/// The executor of this translation unit's architectures; `on_cuda_with<R>` takes scratch memory from R.
template <scratch_resource Scratch>
using on_cuda_with = basic_on_cuda<detail::architectures<CULL_CUDA_ARCHITECTURES>, Scratch>;
using on_cuda = on_cuda_with<stream_ordered_scratch>;

static_assert(simt::device_executor<on_cuda>);

CULL_NAMESPACE_END
