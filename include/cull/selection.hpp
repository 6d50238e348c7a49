// SPDX-License-Identifier: Apache-2.0
// For users: from observations to keep-sets.
#pragma once

#include <cull/saliency.hpp>
#include <cull/selection/compare.hpp>
#include <cull/selection/protect.hpp>
#include <cull/selection/roles.hpp>
#include <cull/selection/select.hpp>
#include <cull/selection/top_k.hpp>
#include <cull/selection/uncertainty.hpp>
#include <cull/selection/water_fill.hpp>
