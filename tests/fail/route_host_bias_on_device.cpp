// expected: stage_in
// SPDX-License-Identifier: Apache-2.0
#include <cull/cuda/route.hpp>

#include "on_some_device.hpp"

#if defined(CULL_FAIL)
using space = cull::host_memory;
#else
using space = cull::device_memory;
#endif

void use(cull::array_view<float const, space> bias, cull::matrix_view<float const, cull::device_memory> logits, cull::routing_target out) {
  cull::route(on_some_device{}, cull::score<cull::sigmoid>() | cull::prefer(bias) | cull::choose(8), logits, out);
}
