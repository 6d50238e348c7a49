// expected: device_memory
// SPDX-License-Identifier: Apache-2.0
#include <cull/tensor.hpp>

#if defined(CULL_FAIL)
using weights = cull::matrix<cull::bf16_format, cull::device_memory>;
#else
using weights = cull::matrix<cull::bf16_format, cull::host_memory>;
#endif

cull::weight_matrix held(weights const& m) { return m; }
