// SPDX-License-Identifier: Apache-2.0
#include "kernels.cuh"

namespace cull_kernels {

std::vector<entry> core_kernels() { return {}; }

}  // namespace cull_kernels
