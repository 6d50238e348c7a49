// expected: router: a stage reads a part of the row that no stage before it has written
// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include <cull/router.hpp>

std::vector<float> const bias(16);
#if defined(CULL_FAIL)
auto const router = cull::score<cull::unscored>() | cull::prefer(bias) | cull::weigh_by_choice() | cull::choose(2);
#else
auto const router = cull::score<cull::unscored>() | cull::prefer(bias) | cull::choose(2) | cull::weigh_by_choice();
#endif
