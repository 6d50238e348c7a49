// SPDX-License-Identifier: Apache-2.0
// For users: router stages, and routing on the CPU.
#pragma once

#include <cull/cpu/route.hpp>
#include <cull/router/candidates.hpp>
#include <cull/router/choose.hpp>
#include <cull/router/logit_bias.hpp>
#include <cull/router/model_router.hpp>
#include <cull/router/route.hpp>
#include <cull/router/routing.hpp>
#include <cull/router/score.hpp>
#include <cull/router/settings.hpp>
#include <cull/router/slice_router.hpp>
#include <cull/router/stage.hpp>
#include <cull/router/weigh.hpp>
