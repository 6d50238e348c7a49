// SPDX-License-Identifier: Apache-2.0
// The device at hand: its peaks, memory, and a timer.
#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>

#include <cuda_runtime.h>

#include <cull/cuda/check.cuh>

namespace cuda_benchmarks {

inline int attribute(cudaDeviceAttr what) {
  int value = 0, device = 0;
  cull::detail::check_cuda(cudaGetDevice(&device), "asking for the device");
  cull::detail::check_cuda(cudaDeviceGetAttribute(&value, what, device), "asking for an attribute");
  return value;
}

/// Bytes a second: two transfers per clock over the whole bus.
inline double memory_peak() {
  return 2.0 * 1000.0 * attribute(cudaDevAttrMemoryClockRate) * attribute(cudaDevAttrGlobalMemoryBusWidth) / 8.0;
}

/// Dense bf16 floating-point operations a second: multiprocessors, their clock, and what one does per clock by compute
/// capability.
inline double bf16_peak() {
  int const major = attribute(cudaDevAttrComputeCapabilityMajor), minor = attribute(cudaDevAttrComputeCapabilityMinor);
  double const per_clock = major == 8 ? (minor == 0 ? 2048 : 512) : major == 9 ? 4096 : major == 12 ? 1024 : 8192;
  return per_clock * attribute(cudaDevAttrMultiProcessorCount) * 1000.0 * attribute(cudaDevAttrClockRate);
}

template <class T>
class device_memory_of {
 public:
  explicit device_memory_of(std::int64_t size) : size_(size) {
    cull::detail::check_cuda(cudaMalloc(&data_, static_cast<std::size_t>(size) * sizeof(T)), "benchmark memory");
    cull::detail::check_cuda(cudaMemset(data_, 0x31, static_cast<std::size_t>(size) * sizeof(T)), "benchmark memory");
  }
  device_memory_of(device_memory_of const&) = delete;
  device_memory_of& operator=(device_memory_of const&) = delete;
  ~device_memory_of() { cudaFree(data_); }
  T* data() const { return data_; }
  std::int64_t size() const { return size_; }

 private:
  std::int64_t size_;
  T* data_ = nullptr;
};

/// f32 operations a second outside of the tensor cores, a fused one counted as two.
inline double f32_peak() {
  int const major = attribute(cudaDevAttrComputeCapabilityMajor), minor = attribute(cudaDevAttrComputeCapabilityMinor);
  double const per_clock = major == 8 && minor == 0 ? 128 : 256;
  return per_clock * attribute(cudaDevAttrMultiProcessorCount) * 1000.0 * attribute(cudaDevAttrClockRate);
}

/// What a row moves and computes; 0: nothing of the kind.
struct amounts {
  double bytes = 0;
  double bf16_operations = 0;
  double f32_operations = 0;
};

/// Times `work` by events, after one run that is not counted; reports bytes, operations and their fractions of the device's
/// peaks.
template <class Work>
void measure(benchmark::State& state, amounts const& of, Work&& work) {
  cudaEvent_t begin, end;
  cull::detail::check_cuda(cudaEventCreate(&begin), "an event");
  cull::detail::check_cuda(cudaEventCreate(&end), "an event");
  work();
  double seconds = 0;
  std::int64_t runs = 0;
  for (auto _ : state) {
    cudaEventRecord(begin);
    work();
    cudaEventRecord(end);
    cull::detail::check_cuda(cudaEventSynchronize(end), "waiting");
    float milliseconds = 0;
    cudaEventElapsedTime(&milliseconds, begin, end);
    state.SetIterationTime(milliseconds * 1e-3);
    seconds += milliseconds * 1e-3;
    ++runs;
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  double const each = seconds / static_cast<double>(runs);
  state.counters["bytes"] = of.bytes;
  state.counters["GB/s"] = of.bytes / each * 1e-9;
  state.counters["of_memory_peak"] = of.bytes / each / memory_peak();
  if (of.bf16_operations > 0) state.counters["of_bf16_peak"] = of.bf16_operations / each / bf16_peak();
  if (of.f32_operations > 0) state.counters["of_f32_peak"] = of.f32_operations / each / f32_peak();
}

}  // namespace cuda_benchmarks
