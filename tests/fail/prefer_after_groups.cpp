// expected: router: this stage comes too late, an earlier one has already used what it changes
// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include <cull/router.hpp>

std::vector<float> const bias(16);
#if defined(CULL_FAIL)
auto const router = cull::score<cull::sigmoid>() | cull::within_groups(4, 2, cull::sum_of_two{}) | cull::prefer(bias);
#else
auto const router = cull::score<cull::sigmoid>() | cull::prefer(bias) | cull::within_groups(4, 2, cull::sum_of_two{});
#endif
