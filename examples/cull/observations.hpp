// SPDX-License-Identifier: Apache-2.0
// Observation files of both kinds: with the measures that every engine has, or with those of whole blocks too.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <cull/checkpoint.hpp>

namespace program {

/// True where all files hold a `cull::block_observation`.
inline bool have_block_measures(std::vector<std::string> const& files) {
  return std::all_of(files.begin(), files.end(), [](std::string const& file) {
    return cull::safetensors_file{file}.find(cull::measures::turned_gate_norm::name) != nullptr;
  });
}

/// The sum of both; errors name the file of the second.
template <class Observation>
Observation merged(Observation const& total, Observation const& next, std::string const& file) {
  try {
    return cull::merge(total, next);
  } catch (cull::error const& problem) {
    if (!problem.where().file.empty()) throw;
    throw cull::error{problem.code(), problem.what(), {.file = file}};
  }
}

}  // namespace program
