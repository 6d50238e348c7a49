// SPDX-License-Identifier: Apache-2.0
// What the page shows, as plain numbers: nothing here knows a file format, nothing behind it computes more than sums and shares.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace report {

/// One expert of one layer.
struct expert_figures {
  double score = 0;         ///< by the plan's criterion
  double error = 0;         ///< standard error of the score; 0 where none is known
  double traffic = 0;       ///< sum of token weights routed to it
  double mass = 0;          ///< sum of w * g * ||f||
  std::int64_t tokens = 0;  ///< routed, unweighted
  bool kept = true;
  bool close = false;     ///< not told from the cut by its standard error
  bool starving = false;  ///< too few tokens to judge it
};

struct layer_figures {
  int layer = 0;
  bool is_mtp = false;
  std::vector<expert_figures> experts = {};  ///< empty where there is a plan and no observation
  std::int64_t experts_before = 0, kept = 0;
  std::optional<double> margin = {};     ///< (last kept - first dropped) / last kept
  std::optional<double> cut = {};        ///< between the lowest kept and the highest dropped score
  double mass_dropped = 0;               ///< share of the layer's mass
  double traffic_dropped = 0;            ///< share of its routed token weight
  std::optional<double> to_settle = {};  ///< sequences more that would settle the cut; infinite where scores are equal
  std::optional<std::int64_t> close = {}, starving = {};  ///< numbers of experts, as the plan noted or the observation says
};

/// A keep-set of every layer, by whom.
struct keep_sets {
  std::string name;
  std::map<int, std::vector<int>> layers;
};

/// Keep-sets to be compared with each other.
struct overlap {
  std::string id, title;
  std::string how;  ///< how the sets were made
  std::vector<keep_sets> sets;
};

/// A figure with its interval, where one is known.
struct rate {
  double value = 0;
  std::optional<double> low = {}, high = {};
};
/// One model of an evaluation: named figures, some per domain.
struct evaluated_model {
  std::string name;
  /// Measure, then domain (or number of drafts, position, part of the text), in the order to show them.
  std::vector<std::pair<std::string, std::vector<std::pair<std::string, rate>>>> groups = {};
  std::vector<std::pair<std::string, rate>> rates = {};
};

struct ledger_row {
  std::string role;
  std::uint64_t before = 0;
  std::optional<std::uint64_t> after = {};
};

enum class verdict { good, note, bad };
struct serving_check {
  verdict result = verdict::good;
  std::string what, found, means;
};

struct input_file {
  std::string kind, path, digest;
};

/// Everything.
struct figures {
  std::string title;
  std::string criterion;
  bool has_errors = true;  ///< whether the criterion's scores have standard errors
  std::string model_digest;
  std::vector<std::pair<std::string, std::string>> facts = {};  ///< name and text: of the calibration, of the model
  std::vector<layer_figures> layers = {};
  bool has_plan = false, has_observation = false;
  std::vector<overlap> overlaps = {};
  std::vector<evaluated_model> models = {};
  std::vector<ledger_row> ledger = {};
  std::vector<serving_check> checks = {};
  std::vector<input_file> files = {};
  std::string command, version;
};

}  // namespace report
