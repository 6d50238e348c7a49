// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <vector>

#include <cull/checkpoint.hpp>

#include "figures.hpp"

namespace report {

/// Bytes by role, before and, with a plan, after; from headers alone.
std::vector<ledger_row> ledger_of(cull::checkpoint const& model, cull::pruning_plan const* plan);

/// What a serving engine will say to the pruned model.
std::vector<serving_check> serving_checks(cull::checkpoint const& model, cull::pruning_plan const* plan);

}  // namespace report
