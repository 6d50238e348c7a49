// expected: device_memory
// SPDX-License-Identifier: Apache-2.0
#include <cull/cuda/dequantize.hpp>

#include "on_some_device.hpp"

#if defined(CULL_FAIL)
using space = cull::host_memory;
#else
using space = cull::device_memory;
#endif

void use(cull::matrix<cull::nvfp4_modelopt, space> const& source, cull::matrix_view<float, space> target) {
  cull::dequantize(on_some_device{}, source, target);
}
