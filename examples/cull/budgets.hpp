// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include <cull/checkpoint.hpp>

namespace program {

using layer_scores = std::map<int, std::vector<double>>;

/// How many experts stay, as a user says it.
struct budget_options {
  int keep = 0;
  double ratio = 0;
  double fit_gib = 0;
  int multiple = 8;
  std::string kind = "uniform";
  int minimum = 0;  ///< 0: the least that the router can do with
  int step = 8;

  void add_to(CLI::App& verb);
  /// Throws CLI errors for options that contradict each other.
  void check() const;
};

/// The budget of every layer that has scores. `size_of(budget)`: bytes of the files that it leads to.
/// Throws cull::error `out_of_range`, `bad_plan`.
cull::layer_budget resolve(budget_options const& wanted, cull::checkpoint const& model, layer_scores const& scores,
                           std::function<std::uint64_t(cull::layer_budget const&)> const& size_of);

/// What serving engines will say to the numbers of experts.
std::vector<std::string> serving_notes(cull::checkpoint const& model, cull::pruning_plan const& made);

}  // namespace program
