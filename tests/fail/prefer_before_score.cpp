// expected: router: a stage reads a part of the row that no stage before it has written
// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include <cull/router.hpp>

std::vector<float> const bias(16);
std::vector<int> const kept{0, 2, 3};
#if defined(CULL_FAIL)
auto const router = cull::keep_only(kept) | cull::prefer(bias) | cull::score<cull::sigmoid>() | cull::choose(2);
#else
auto const router = cull::keep_only(kept) | cull::score<cull::sigmoid>() | cull::prefer(bias) | cull::choose(2);
#endif
