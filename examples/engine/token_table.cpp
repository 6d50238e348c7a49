// SPDX-License-Identifier: Apache-2.0
#include <engine/token_table.hpp>

#include <algorithm>

#include <cull/error.hpp>

namespace engine {
namespace {

int domain_of(sequence const& from, std::vector<std::string> const& domains) {
  auto const found = std::find(domains.begin(), domains.end(), from.domain);
  if (found == domains.end()) {
    throw cull::error{cull::errc::mismatched_states, from.id + ": the observation has no domain '" + from.domain + "'"};
  }
  return static_cast<int>(found - domains.begin());
}

}  // namespace

token_table tabulate(std::span<sequence const> sequences, std::vector<std::string> const& domains, std::int64_t drop) {
  token_table out;
  out.starts.push_back(0);
  for (std::size_t s = 0; s < sequences.size(); ++s) {
    auto const& from = sequences[s];
    auto const weights = effective_weights(from);
    int const domain = domains.empty() ? 0 : domain_of(from, domains);
    auto const size = static_cast<std::int64_t>(from.ids.size());
    for (std::int64_t t = 0; t + drop < size; ++t) {
      auto const at = static_cast<std::size_t>(t);
      out.ids.push_back(from.ids[at]);
      out.next_ids.push_back(t + 1 < size ? from.ids[at + 1] : -1);
      out.positions.push_back(t);
      out.sequence.push_back(static_cast<int>(s));
      out.weights.push_back(weights[at]);
      if (!domains.empty()) out.domain.push_back(domain);
    }
    out.starts.push_back(out.rows());
  }
  return out;
}

}  // namespace engine
