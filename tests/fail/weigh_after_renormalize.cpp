// expected: router: this stage comes too late, an earlier one has already used what it changes
// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include <cull/router.hpp>

std::vector<float> const bias(16);
#if defined(CULL_FAIL)
auto const router = cull::score<cull::sigmoid>() | cull::prefer(bias) | cull::choose(2) | cull::renormalize(0.0f) | cull::weigh_by_choice();
#else
auto const router = cull::score<cull::sigmoid>() | cull::prefer(bias) | cull::choose(2) | cull::weigh_by_choice() | cull::renormalize(0.0f);
#endif
