// SPDX-License-Identifier: Apache-2.0
#include <cull/cuda/dequantize.hpp>
#include <cull/cuda/quantize.hpp>
#include <cull/cuda/relayout.hpp>
#include <cull/tensor/mxfp4.hpp>

#include "kernels.cuh"

namespace cull_kernels {

std::vector<entry> core_kernels() {
  using namespace cull::simt;
  using cull::bf16;
  using cull::compressed_tensors;
  using cull::f16;
  using cull::linear;
  using cull::modelopt;
  using cull::tiled_128x4;
  return {
      kernel_of<dequantize_nvfp4<modelopt, float>>(),
      kernel_of<dequantize_nvfp4<modelopt, bf16>>(),
      kernel_of<dequantize_nvfp4<modelopt, f16>>(),
      kernel_of<dequantize_nvfp4<compressed_tensors, bf16>>(),
      kernel_of<dequantize_groups<cull::nvfp4<modelopt, tiled_128x4>, float>>(),
      kernel_of<dequantize_groups<cull::nvfp4<modelopt>, bf16>>(),
      kernel_of<dequantize_groups<cull::mxfp4, bf16>>(),
      kernel_of<find_amax<float>>(),
      kernel_of<find_amax<bf16>>(),
      kernel_of<quantize_modelopt<float>>(),
      kernel_of<quantize_modelopt<bf16>>(),
      kernel_of<relayout_scales<linear, tiled_128x4>>(),
      kernel_of<relayout_scales<tiled_128x4, linear>>(),
  };
}

}  // namespace cull_kernels
