// SPDX-License-Identifier: Apache-2.0
// Reads "major minor registers shared threads" per line, prints the share of a multiprocessor's threads that can be resident. The
// arithmetic is the toolkit's own header; no device is asked. Limits: CUDA programming guide, technical specifications per compute
// capability.
#include <cstdio>
#include <cstring>

#include <cuda_runtime.h>
#include <cuda_occupancy.h>

int main() {
  int major, minor, registers, threads;
  unsigned long shared;
  while (std::scanf("%d %d %d %lu %d", &major, &minor, &registers, &shared, &threads) == 5) {
    cudaOccDeviceProp device{};
    int const cc = 10 * major + minor;
    bool const client = cc == 120 || cc == 121;
    device.computeMajor = major;
    device.computeMinor = minor;
    device.maxThreadsPerBlock = 1024;
    device.maxThreadsPerMultiprocessor = client ? 1536 : 2048;
    device.regsPerBlock = 65536;
    device.regsPerMultiprocessor = 65536;
    device.warpSize = 32;
    device.sharedMemPerBlock = 48 * 1024;
    device.sharedMemPerMultiprocessor = (client ? 100 : cc == 80 ? 164 : 228) * 1024;
    device.sharedMemPerBlockOptin = (client ? 99 : cc == 80 ? 163 : 227) * 1024;
    device.reservedSharedMemPerBlock = 1024;
    device.numSms = 1;
    cudaOccFuncAttributes function{};
    function.maxThreadsPerBlock = threads;
    function.numRegs = registers;
    function.sharedSizeBytes = shared;
    function.maxDynamicSharedSizeBytes = device.sharedMemPerBlockOptin;
    function.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    function.numBlockBarriers = 1;
    cudaOccDeviceState state{};
    cudaOccResult result{};
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &function, &state, threads, 0) != CUDA_OCC_SUCCESS) return 1;
    std::printf("%d\n", 100 * result.activeBlocksPerMultiprocessor * threads / device.maxThreadsPerMultiprocessor);
  }
}
