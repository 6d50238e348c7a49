// expected: router: this stage comes too late, an earlier one has already used what it changes
// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include <cull/router.hpp>

std::vector<float> const bias(16);
#if defined(CULL_FAIL)
auto const router = cull::score<cull::softmax>() | cull::add_logit_bias(bias) | cull::choose(2);
#else
auto const router = cull::add_logit_bias(bias) | cull::score<cull::softmax>() | cull::choose(2);
#endif
