// expected: router: this stage comes too late, an earlier one has already used what it changes
// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include <cull/router.hpp>

std::vector<int> const kept{0, 2, 3};
#if defined(CULL_FAIL)
auto const router = cull::score<cull::softmax>() | cull::keep_only(kept) | cull::choose(2);
#else
auto const router = cull::keep_only(kept) | cull::score<cull::softmax>() | cull::choose(2);
#endif
