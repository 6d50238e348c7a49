// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <span>

#include <cuda_runtime_api.h>

#include <cull/cuda/check.cuh>
#include <cull/cuda/stream_plan.hpp>

CULL_NAMESPACE_BEGIN

/// Carries a `stream_plan` out: `copy(step, stream)` enqueues the copies of a part (`copy_expert` and `cudaMemcpyAsync`),
/// `run(step)` its kernels on `kernels`. Two streams that are ordered by events; the copy stream starts after what is on
/// `kernels` now, so the buffers can be the next layer's too. From pinned memory (`cudaMallocHost`, `pinned_memory` for mapped
/// files) copies overlap with kernels and the host waits for nothing; from pageable memory, a mapped file as it is, each copy
/// waits until the driver has staged it, after which the result is the same. Throws `errc::device`.
template <class Copy, class Run>
void stream_layer(std::span<stream_step const> plan, cudaStream_t copies, cudaStream_t kernels, Copy&& copy, Run&& run) {
  struct event {
    cudaEvent_t handle = nullptr;
    event() { detail::check_cuda(cudaEventCreateWithFlags(&handle, cudaEventDisableTiming), "creating an event"); }
    event(event const&) = delete;
    event& operator=(event const&) = delete;
    ~event() { cudaEventDestroy(handle); }  // the driver keeps it as long as a stream needs it
    void record(cudaStream_t s) const { detail::check_cuda(cudaEventRecord(handle, s), "recording an event"); }
    void awaited_by(cudaStream_t s) const { detail::check_cuda(cudaStreamWaitEvent(s, handle, 0), "waiting for an event"); }
  };
  event const begin;
  std::array<event, 2> const copied{}, free{};
  begin.record(kernels);
  begin.awaited_by(copies);
  for (auto const& step : plan) {
    auto const buffer = static_cast<std::size_t>(step.buffer);
    switch (step.what) {
      case stream_step::kind::wait_until_free:
        free[buffer].awaited_by(copies);
        break;
      case stream_step::kind::copy:
        copy(step, copies);
        copied[buffer].record(copies);
        break;
      case stream_step::kind::wait_until_copied:
        copied[buffer].awaited_by(kernels);
        break;
      case stream_step::kind::run:
        run(step);
        free[buffer].record(kernels);
        break;
    }
  }
}

CULL_NAMESPACE_END
