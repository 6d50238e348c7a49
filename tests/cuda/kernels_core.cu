// SPDX-License-Identifier: Apache-2.0
#include <cull/cuda/dequantize.hpp>
#include <cull/cuda/observation.hpp>
#include <cull/cuda/quantize.hpp>
#include <cull/cuda/relayout.hpp>
#include <cull/cuda/route.hpp>
#include <cull/cuda/select.hpp>
#include <cull/tensor/fp8.hpp>
#include <cull/tensor/gguf.hpp>

#include "kernels.cuh"

namespace cull_kernels {

namespace {

using sigmoid_router =
    decltype(cull::score<cull::sigmoid>() | cull::prefer(cull::array_view<float const, cull::device_memory>{}) | cull::choose(8) |
             cull::renormalize(1e-20f) | cull::scale(2.5f));
using softmax_router = decltype(cull::score<cull::softmax>() | cull::choose<8>());
template <template <class...> class Body>
using of_all_measures =
    Body<cull::measures::count, cull::measures::weight, cull::measures::gate, cull::measures::norm, cull::measures::gate_norm,
         cull::measures::gate_norm_squared, cull::measures::norm_squared, cull::measures::max_norm>;
using any_model = cull::basic_model_router<cull::device_memory>;

}  // namespace

std::vector<entry> core_kernels() {
  using namespace cull::simt;
  using cull::bf16;
  using cull::compressed_tensors;
  using cull::f16;
  using cull::linear;
  using cull::modelopt;
  using cull::tiled_128x4;
  return {
      kernel_of<dequantize_fp4<cull::nvfp4<modelopt>, float>>(),
      kernel_of<dequantize_fp4<cull::nvfp4<modelopt>, bf16>>(),
      kernel_of<dequantize_fp4<cull::nvfp4<modelopt>, f16>>(),
      kernel_of<dequantize_fp4<cull::nvfp4<compressed_tensors>, float>>(),
      kernel_of<dequantize_fp4<cull::nvfp4<compressed_tensors>, bf16>>(),
      kernel_of<dequantize_fp4<cull::nvfp4<modelopt, tiled_128x4>, bf16>>(),
      kernel_of<dequantize_fp4<cull::nvfp4<modelopt, tiled_128x4>, f16>>(),
      kernel_of<dequantize_fp4<cull::mxfp4, float>>(),
      kernel_of<dequantize_fp4<cull::mxfp4, bf16>>(),
      kernel_of<dequantize_groups<cull::nvfp4<modelopt>, bf16>>(),
      kernel_of<dequantize_groups<cull::fp8_tensor, float>>(),
      kernel_of<dequantize_groups<cull::gguf_nvfp4, float>>(),
      kernel_of<dequantize_groups<cull::gguf_nvfp4, bf16>>(),
      kernel_of<find_amax<float>>(),
      kernel_of<find_amax<bf16>>(),
      kernel_of<quantize_nvfp4<modelopt, float>>(),
      kernel_of<quantize_nvfp4<modelopt, bf16>>(),
      kernel_of<quantize_nvfp4<compressed_tensors, float>>(),
      kernel_of<quantize_nvfp4<compressed_tensors, bf16>>(),
      kernel_of<relayout_scales<linear, tiled_128x4>>(),
      kernel_of<relayout_scales<tiled_128x4, linear>>(),
      kernel_of<route_rows<sigmoid_router, 256>>(),
      kernel_of<route_rows<softmax_router, 1024>>(),
      kernel_of<route_rows<any_model, 256>>(),
      kernel_of<route_rows<any_model, 1024>>(),
      kernel_of<of_all_measures<add_tokens>>(),
      kernel_of<of_all_measures<close_sequences>>(),
      kernel_of<of_all_measures<merge_cells>>(),
      kernel_of<add_number>(),
      kernel_of<select_top>(),
  };
}

}  // namespace cull_kernels
