// SPDX-License-Identifier: Apache-2.0
#include <cull/cuda/run_experts.hpp>

#include "kernels.cuh"

namespace cull_kernels {

namespace {

using namespace cull;
using namespace cull::simt;

template <int Parts, class Activation, bool Gated>
void add_tiles(std::vector<entry>& to) {
  to.push_back(kernel_of<gate_up_tile<Parts, Activation, Gated>>());
}
template <class Precision, class Activation, bool Gated>
void add_rows(std::vector<entry>& to) {
  to.push_back(kernel_of<gate_up_rows<Precision, Activation, Gated>>());
}

}  // namespace

std::vector<entry> expert_kernels() {
  std::vector<entry> all{
      kernel_of<write_experts, expert_weights*, expert_batch, int, int>(),
      kernel_of<group_pairs<64>>(),
      kernel_of<group_pairs<4>>(),
      kernel_of<fill_others>(),
      kernel_of<split_rows<1>>(),
      kernel_of<split_rows<3>>(),
      kernel_of<round_rows<bf16_precision>>(),
      kernel_of<round_rows<f32_precision>>(),
      kernel_of<down_tile<1, store_outputs>>(),
      kernel_of<down_tile<3, store_outputs>>(),
      kernel_of<down_tile<1, sum_squares>>(),
      kernel_of<down_rows>(),
      kernel_of<combine_outputs>(),
      kernel_of<finish_norms>(),
  };
  add_tiles<1, silu, true>(all);
  add_tiles<3, silu, true>(all);
  add_tiles<3, relu2, false>(all);
  add_rows<bf16_precision, silu, true>(all);
  add_rows<f32_precision, silu, true>(all);
  add_rows<f32_precision, relu2, false>(all);
  return all;
}

}  // namespace cull_kernels
