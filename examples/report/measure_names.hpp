// SPDX-License-Identifier: Apache-2.0
// What the measures of an evaluation are called on a page.
#pragma once

#include <string>

namespace report {

/// "terminated" as "prompts terminated".
std::string measure_name(std::string key);
/// Whether it is a share, told in percent.
bool is_share(std::string const& key);

}  // namespace report
