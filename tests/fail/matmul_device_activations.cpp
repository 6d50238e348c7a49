// expected: device_memory
// SPDX-License-Identifier: Apache-2.0
#include <cull/expert.hpp>

#if defined(CULL_FAIL)
using activations = cull::matrix_view<float const, cull::device_memory>;
#else
using activations = cull::matrix_view<float const, cull::host_memory>;
#endif

void multiply_on_cpu(activations x, cull::weight_matrix const& w, cull::matrix_view<float> y) {
  cull::matmul(cull::on_cpu{}, x, w, y);
}
