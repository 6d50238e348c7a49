// expected: on a device products take weights in NVFP4, scales in rows, or in MXFP4; for others use your engine's product
// compiles for: sm_90a
// fails for: sm_90a
// SPDX-License-Identifier: Apache-2.0
#include <cull/cuda/on_cuda.cuh>
#include <cull/cuda/run_experts.hpp>
#include <cull/tensor/fp8.hpp>

#if defined(CULL_FAIL)
using format = cull::fp8_tensor;
#else
using format = cull::nvfp4_modelopt;
#endif

void run(std::span<cull::gated_expert<cull::matrix<format, cull::device_memory>> const> experts,
         cull::matrix_view<float const, cull::device_memory> x, cull::routing<cull::device_memory> chosen,
         cull::matrix_view<float, cull::device_memory> outputs) {
  cull::run_experts<cull::bf16_precision>(cull::on_cuda{}, experts, x, chosen, outputs);
}
