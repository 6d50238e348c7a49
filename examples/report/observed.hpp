// SPDX-License-Identifier: Apache-2.0
// An observation file of either kind, as figures of its experts.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <cull/checkpoint.hpp>

#include "figures.hpp"

namespace report {

class observed {
 public:
  /// Throws cull::error for a file that holds none.
  static observed load(std::string const& path, std::string name);

  std::string const& name() const { return name_; }
  std::vector<int> const& layers() const;
  int experts(int layer) const;
  std::vector<std::string> const& domains() const;
  cull::provenance const& provenance() const;

  /// Whether what this criterion sums was measured.
  bool has(std::string const& criterion) const;
  /// Experts of a layer without a cut; errors 0 where there are none.
  std::vector<expert_figures> figures_of(int layer, std::string const& criterion) const;
  /// By that criterion, of all domains or of one.
  std::vector<double> scores(int layer, std::string const& criterion, std::optional<int> domain = {}) const;
  /// What these sequences can say about a cut.
  cull::cut_uncertainty doubt(cull::layer_selection const& cut, std::string const& criterion) const;

 private:
  using either = std::variant<cull::default_observation, cull::block_observation>;
  observed(std::string name, either of) : name_(std::move(name)), of_(std::move(of)) {}

  std::string name_;
  either of_;
};

}  // namespace report
