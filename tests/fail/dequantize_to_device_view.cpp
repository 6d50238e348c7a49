// expected: device_memory
// SPDX-License-Identifier: Apache-2.0
#include <cull/tensor.hpp>

#if defined(CULL_FAIL)
using target_view = cull::matrix_view<float, cull::device_memory>;
#else
using target_view = cull::matrix_view<float, cull::host_memory>;
#endif

void dequantize_on_cpu(cull::matrix<cull::nvfp4_modelopt> const& source, target_view target) {
  cull::dequantize(cull::on_cpu{}, source, target);
}
