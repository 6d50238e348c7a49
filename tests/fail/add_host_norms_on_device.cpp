// expected: device_memory
// SPDX-License-Identifier: Apache-2.0
#include <cull/cuda/observation.hpp>

#include "on_some_device.hpp"

#if defined(CULL_FAIL)
using space = cull::host_memory;
#else
using space = cull::device_memory;
#endif

void use(cull::routing<cull::device_memory> const& chosen, cull::matrix_view<float const, space> norms) {
  auto seen = cull::observation_on(on_some_device{}, {.layers = {0}, .experts = 8});
  cull::add(on_some_device{}, seen.at(0), chosen, {.norms = norms});
}
