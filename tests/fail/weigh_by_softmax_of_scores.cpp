// expected: router: a stage reads a part of the row that no stage before it has written
// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include <cull/router.hpp>

std::vector<float> const bias(16);
#if defined(CULL_FAIL)
auto const router = cull::add_logit_bias(bias) | cull::score<cull::softmax>() | cull::choose(2) | cull::weigh_by_softmax();
#else
auto const router = cull::add_logit_bias(bias) | cull::score<cull::unscored>() | cull::choose(2) | cull::weigh_by_softmax();
#endif
