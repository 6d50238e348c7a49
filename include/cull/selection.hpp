// SPDX-License-Identifier: Apache-2.0
// For users: from observations to keep-sets.
#pragma once

#include <cull/saliency.hpp>
#include <cull/selection/compare.hpp>
#include <cull/selection/select.hpp>
#include <cull/selection/top_k.hpp>
