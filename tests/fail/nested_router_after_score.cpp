// expected: router: this stage comes too late, an earlier one has already used what it changes
// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include <cull/router.hpp>

std::vector<int> const kept{0, 2, 3};
auto const nested = cull::keep_only(kept) | cull::model_router{{.top_k = 2}, {}};
#if defined(CULL_FAIL)
auto const router = cull::score<cull::softmax>() | nested;
#else
auto const router = nested;
#endif
