// expected: device_memory>
// SPDX-License-Identifier: Apache-2.0
#include <cull/router.hpp>

#if defined(CULL_FAIL)
using logits_view = cull::matrix_view<float const, cull::device_memory>;
#else
using logits_view = cull::matrix_view<float const, cull::host_memory>;
#endif

void use(logits_view const& logits, cull::routing_buffer& out) {
  cull::route(cull::on_cpu{}, cull::score<cull::sigmoid>() | cull::choose(8), logits, out);
}
