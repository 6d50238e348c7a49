// expected: no instance of function template "cull::v0_1::run_experts"
// compiles for: sm_90a
// fails for: sm_90a
// SPDX-License-Identifier: Apache-2.0
#include <cull/cuda/on_cuda.cuh>
#include <cull/cuda/run_experts.hpp>

#if defined(CULL_FAIL)
using space = cull::host_memory;
#else
using space = cull::device_memory;
#endif

void run(std::span<cull::gated_expert<cull::matrix<cull::nvfp4_modelopt, cull::device_memory>> const> experts,
         cull::matrix_view<float const, space> x, cull::routing<cull::device_memory> chosen,
         cull::matrix_view<float, cull::device_memory> outputs) {
  cull::run_experts<cull::bf16_precision>(cull::on_cuda{}, experts, x, chosen, outputs);
}
