// expected: router: a stage reads a part of the row that no stage before it has written
// SPDX-License-Identifier: Apache-2.0
#include <cull/router.hpp>

#if defined(CULL_FAIL)
auto const router = cull::score<cull::sigmoid>() | cull::renormalize(1e-20f) | cull::choose(8);
#else
auto const router = cull::score<cull::sigmoid>() | cull::choose(8) | cull::renormalize(1e-20f);
#endif
