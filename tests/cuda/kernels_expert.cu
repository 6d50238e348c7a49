// SPDX-License-Identifier: Apache-2.0
#include <cull/cuda/matmul.hpp>
#include <cull/cuda/run_experts.hpp>

#include "kernels.cuh"

namespace cull_kernels {

namespace {

using namespace cull;
using namespace cull::simt;

}  // namespace

std::vector<entry> expert_kernels() {
  return {
      kernel_of<write_experts, expert_weights*, expert_batch, int>(),
      kernel_of<group_pairs<64>>(),
      kernel_of<group_pairs<8>>(),
      kernel_of<fill_others>(),
      kernel_of<split_rows<1>>(),
      kernel_of<split_rows<3>>(),
      kernel_of<gate_up_tile<1, 64, silu, true, nvfp4_whole>>(),
      kernel_of<gate_up_tile<3, 64, silu, true, nvfp4_whole>>(),
      kernel_of<gate_up_tile<3, 64, relu2, false, nvfp4_whole>>(),
      kernel_of<gate_up_tile<1, 8, silu, true, nvfp4_whole>>(),
      kernel_of<gate_up_tile<3, 8, silu, true, nvfp4_whole>>(),
      kernel_of<down_tile<1, 64, store_outputs, nvfp4_whole>>(),
      kernel_of<down_tile<3, 64, store_outputs, nvfp4_whole>>(),
      kernel_of<down_tile<1, 8, store_outputs, nvfp4_whole>>(),
      kernel_of<down_tile<3, 8, store_outputs, nvfp4_whole>>(),
      kernel_of<down_tile<1, 64, sum_squares, nvfp4_whole>>(),
      kernel_of<down_tile<3, 64, sum_squares, nvfp4_whole>>(),
      kernel_of<down_tile<1, 8, sum_squares, nvfp4_whole>>(),
      kernel_of<gate_up_tile<3, 64, clamped_swiglu, true, nvfp4_ragged>>(),
      kernel_of<gate_up_tile<3, 64, gelu, true, nvfp4_ragged>>(),
      kernel_of<gate_up_tile<1, 64, model_activation, true, nvfp4_ragged>>(),
      kernel_of<gate_up_tile<1, 64, model_activation, false, nvfp4_whole>>(),
      kernel_of<gate_up_tile<1, 8, model_activation, true, nvfp4_ragged>>(),
      kernel_of<gate_up_tile<1, 64, silu, true, nvfp4_ragged>>(),
      kernel_of<gate_up_tile<3, 8, silu, true, nvfp4_ragged>>(),
      kernel_of<gate_up_tile<3, 64, gelu_tanh, true, nvfp4_whole>>(),
      kernel_of<gate_up_tile<3, 64, limited_silu, true, nvfp4_whole>>(),
      kernel_of<down_tile<1, 64, store_outputs, nvfp4_ragged>>(),
      kernel_of<down_tile<3, 64, store_outputs, nvfp4_ragged>>(),
      kernel_of<down_tile<1, 8, store_outputs, nvfp4_ragged>>(),
      kernel_of<down_tile<3, 64, sum_squares, nvfp4_ragged>>(),
      kernel_of<down_tile<3, 8, store_outputs, nvfp4_ragged>>(),
      kernel_of<gate_up_tile<1, 64, clamped_swiglu, true, mxfp4_rows>>(),
      kernel_of<gate_up_tile<3, 64, clamped_swiglu, true, mxfp4_rows>>(),
      kernel_of<gate_up_tile<1, 8, clamped_swiglu, true, mxfp4_rows>>(),
      kernel_of<gate_up_tile<3, 8, clamped_swiglu, true, mxfp4_rows>>(),
      kernel_of<down_tile<1, 64, store_outputs, mxfp4_rows>>(),
      kernel_of<down_tile<3, 64, store_outputs, mxfp4_rows>>(),
      kernel_of<down_tile<1, 8, store_outputs, mxfp4_rows>>(),
      kernel_of<down_tile<1, 64, sum_squares, mxfp4_rows>>(),
      kernel_of<matmul_tile<1, 64, nvfp4_whole>>(),
      kernel_of<matmul_tile<3, 64, nvfp4_whole>>(),
      kernel_of<matmul_tile<1, 8, nvfp4_whole>>(),
      kernel_of<matmul_tile<3, 64, nvfp4_ragged>>(),
      kernel_of<matmul_tile<3, 8, nvfp4_ragged>>(),
      kernel_of<matmul_tile<1, 64, mxfp4_rows>>(),
      kernel_of<matmul_tile<3, 8, mxfp4_rows>>(),
      kernel_of<combine_outputs>(),
      kernel_of<finish_norms<64>>(),
      kernel_of<finish_norms<8>>(),
  };
}

}  // namespace cull_kernels
