// expected: device_memory
// SPDX-License-Identifier: Apache-2.0
#include <cull/tensor.hpp>

#if defined(CULL_FAIL)
using weights = cull::matrix<cull::nvfp4_modelopt, cull::device_memory>;
#else
using weights = cull::matrix<cull::nvfp4_modelopt, cull::host_memory>;
#endif

void dequantize_on_cpu(weights const& source, cull::matrix_view<float> target) {
  cull::dequantize(cull::on_cpu{}, source, target);
}
