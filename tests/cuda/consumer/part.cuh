// SPDX-License-Identifier: Apache-2.0
// The same use of the library, in a translation unit of each kind.
#include <cull/cuda/on_cuda.cuh>
#include <cull/cuda/run_experts.hpp>

/// 0: combined as it must be; 77: there is no device; else what went wrong.
int PART() {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) return 77;
  cull::on_cuda const exec{};
  float const host[3] = {2.0f, 3.0f, 0.5f};  // two outputs of one column, the first one's weight twice
  auto* const memory = static_cast<float*>(exec.allocate(64));
  exec.copy_in(memory, host, sizeof host);
  exec.copy_in(memory + 3, host + 2, sizeof(float));
  exec.fill_zero(memory + 4, 4);
  auto* const norms = reinterpret_cast<double*>(memory + 8);
  cull::combine(exec,
                cull::routing<cull::device_memory>{{reinterpret_cast<std::int32_t const*>(memory + 4), 1, 2}, {memory + 2, 1, 2}},
                cull::matrix_view<float const, cull::device_memory>{memory, 2, 1},
                cull::matrix_view<float, cull::device_memory>{memory + 6, 1, 1},
                cull::matrix_view<double, cull::device_memory>{norms, 1, 2});
  float y = 0;
  exec.copy_out(&y, memory + 6, sizeof y);
  exec.synchronize();
  exec.release(memory, 64);
  return y == 2.5f ? 0 : 1;
}
