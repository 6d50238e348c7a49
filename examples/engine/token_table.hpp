// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <span>
#include <string>
#include <vector>

#include <engine/sequences.hpp>

namespace engine {

/// The tokens of many sequences one after another, as columns.
struct token_table {
  std::vector<int> ids;
  std::vector<int> next_ids;  ///< of the following token; -1 for a sequence's last
  std::vector<std::int64_t> positions;
  std::vector<int> sequence;
  std::vector<double> weights;
  std::vector<int> domain;           ///< empty where domains are not told apart
  std::vector<std::int64_t> starts;  ///< per sequence the first of its rows, and at the end the number of all rows

  std::int64_t rows() const { return static_cast<std::int64_t>(ids.size()); }
  std::int64_t sequences() const { return static_cast<std::int64_t>(starts.size()) - 1; }
};

/// All tokens but the last `drop` of each sequence. `domains`: names whose index `domain` holds; throws errc::mismatched_states
/// for a sequence of another domain.
token_table tabulate(std::span<sequence const> sequences, std::vector<std::string> const& domains, std::int64_t drop = 0);

}  // namespace engine
