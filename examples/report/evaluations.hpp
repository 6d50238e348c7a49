// SPDX-License-Identifier: Apache-2.0
// What `cull eval --json` and `cull verify --json` print, as figures.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "figures.hpp"

namespace report {

/// Models stand in the order of the file.
using json = nlohmann::ordered_json;

/// One model, named `name`, or several under their own names; empty where it is something else.
std::vector<evaluated_model> evaluations_of(json const& root, std::string const& name);

serving_check verification_of(json const& root);

}  // namespace report
