// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include <cstdio>

#include "device.cuh"

int main(int argc, char** argv) {
  int devices = 0;
  auto const status = cudaGetDeviceCount(&devices);
  if (status != cudaSuccess || devices == 0) {
    std::printf("no CUDA device here (%s): nothing is measured\n", cudaGetErrorString(status));
    return 77;
  }
  cudaDeviceProp properties{};
  cudaGetDeviceProperties(&properties, 0);
  std::printf("%s: %.0f GB/s, %.0f TFLOP/s bf16 dense by its own clocks\n", properties.name,
              cuda_benchmarks::memory_peak() * 1e-9, cuda_benchmarks::bf16_peak() * 1e-12);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
