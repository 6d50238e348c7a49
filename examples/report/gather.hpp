// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <cull/checkpoint.hpp>

#include "figures.hpp"

namespace report {

struct request {
  /// Observations (safetensors), plans, and what the verbs print with --json: eval, verify, inspect; told by what is in them.
  std::vector<std::filesystem::path> files = {};
  std::filesystem::path model = {};   ///< for the byte ledger and the serving checks; may be empty
  std::filesystem::path family = {};  ///< a descriptor of the model's family, or empty
  std::string criterion = {};         ///< empty: the plan's, or reap
  std::optional<int> keep = {};       ///< a cut to show where there is no plan
  std::string title = {};             ///< empty: the model's name, or the first file's
  std::string command = {};           ///< that made the page
};

/// Reads everything and computes what the page shows. The first observation is the one that is drawn, the first plan gives the
/// cut; further ones are compared with them. Throws cull::error for files that are not what they should be, or do not belong
/// together.
figures gather(request const& from);
/// The same for a source model that is open already.
figures gather(request const& from, cull::checkpoint model);

}  // namespace report
