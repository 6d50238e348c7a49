// expected: device_memory
// SPDX-License-Identifier: Apache-2.0
#include <cull/tensor.hpp>

#if defined(CULL_FAIL)
using source_view = cull::matrix_view<float const, cull::device_memory>;
#else
using source_view = cull::matrix_view<float const, cull::host_memory>;
#endif

void quantize_on_cpu(source_view source, cull::nvfp4_buffer& target) {
  cull::quantize(cull::on_cpu{}, cull::modelopt{}, source, target);
}
