// SPDX-License-Identifier: Apache-2.0
// The files that go with a pruned model: card, compose file, sampling defaults, report.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <cull/checkpoint.hpp>

#include "sampling.hpp"

namespace kit {

struct request {
  cull::checkpoint const& model;  ///< the source
  cull::pruning_plan const& plan;
  std::filesystem::path dir;                         ///< what apply wrote
  std::string name = {};                             ///< of the model; empty: the directory's
  std::vector<std::filesystem::path> evidence = {};  ///< observations and evaluations, as `cull report` takes them
  std::string command = {};                          ///< that made it
  bool keep_sampling = false;                        ///< leave the source's generation_config.json
};

struct contents {
  std::vector<cull::added_file> files;
  std::vector<std::string> notes;  ///< what is not as in the source, a sentence each
};

/// The names of what `make` will give, before there is a directory; reads all that comes from elsewhere, so that what is wrong with
/// it is known before anything is written. Throws cull::error.
std::vector<std::string> check(request const& from, std::filesystem::path const& plan_file);

/// Writes nothing; a function of the files alone. Throws cull::error.
contents make(request const& from);

}  // namespace kit
