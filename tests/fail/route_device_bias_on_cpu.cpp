// expected: stage_in
// SPDX-License-Identifier: Apache-2.0
#include <cull/router.hpp>

#if defined(CULL_FAIL)
using space = cull::device_memory;
#else
using space = cull::host_memory;
#endif

void use(cull::array_view<float const, space> bias, cull::matrix_view<float const> logits, cull::routing_buffer& out) {
  cull::route(cull::on_cpu{}, cull::score<cull::sigmoid>() | cull::prefer(bias) | cull::choose(8), logits, out);
}
