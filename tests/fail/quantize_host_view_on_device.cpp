// expected: device_memory
// SPDX-License-Identifier: Apache-2.0
#include <cull/cuda/quantize.hpp>

#include "on_some_device.hpp"

#if defined(CULL_FAIL)
using space = cull::host_memory;
#else
using space = cull::device_memory;
#endif

void use(cull::matrix_view<float const, space> source, cull::nvfp4_target target) {
  cull::quantize(on_some_device{}, cull::modelopt{}, source, target);
}
