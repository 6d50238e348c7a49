// expected: device_memory
// SPDX-License-Identifier: Apache-2.0
#include <cull/expert.hpp>

#if defined(CULL_FAIL)
using weights = cull::matrix<cull::nvfp4_modelopt, cull::device_memory>;
#else
using weights = cull::matrix<cull::nvfp4_modelopt, cull::host_memory>;
#endif

void multiply_on_cpu(cull::matrix_view<float const> x, weights const& w, cull::matrix_view<float> y) {
  cull::matmul(cull::on_cpu{}, x, w, y);
}
