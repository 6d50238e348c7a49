// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include <cull/checkpoint.hpp>

#include "figures.hpp"

namespace report {

/// Bytes by role, before and, with a plan, after; from headers alone.
std::vector<ledger_row> ledger_of(cull::checkpoint const& model, cull::pruning_plan const* plan);

/// "42", or "24 to 60" where counts differ; of one count at least.
std::string range_text(std::vector<int> const& counts);

/// What a serving engine will say to the pruned model.
std::vector<serving_check> serving_checks(cull::checkpoint const& model, cull::pruning_plan const* plan);

}  // namespace report
