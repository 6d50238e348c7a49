// expected: native e2m1
// compiles for: sm_120a
// fails for: sm_120
// SPDX-License-Identifier: Apache-2.0
#include <cull/cuda/device_context.cuh>

__global__ void needs_native() {
#if defined(__CUDA_ARCH__)
  static_assert(CULL_NATIVE_E2M1 == 1, "native e2m1");
#endif
}
