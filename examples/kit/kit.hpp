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

/// Writes nothing; a function of the files alone. Throws cull::error.
contents make(request const& from);

}  // namespace kit
