// SPDX-License-Identifier: Apache-2.0
#include "ledger.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

namespace report {
namespace {

std::string divisors(int count) {
  std::string out;
  for (int ranks = 2; ranks <= 16; ++ranks) {
    if (count % ranks == 0) out += (out.empty() ? "" : ", ") + std::to_string(ranks);
  }
  return out.empty() ? "no number of" : out;
}

void add_count_checks(cull::router_settings const& r, std::vector<int> const& counts, std::vector<serving_check>& out) {
  int const groups = std::max(1, r.groups);
  int const count = *std::min_element(counts.begin(), counts.end());
  int divisor = 0;  // of all counts
  for (int const each : counts) divisor = std::gcd(divisor, each);
  out.push_back({count >= r.top_k ? verdict::good : verdict::bad, "chosen of kept",
                 std::to_string(r.top_k) + " of " + range_text(counts), "the router must find as many experts as it chooses"});
  if (groups > 1) {
    bool const fits = divisor % groups == 0 && count / groups >= 2 && count / groups * std::max(1, r.top_groups) >= r.top_k;
    out.push_back({fits ? verdict::good : verdict::bad, "groups",
                   range_text(counts) + " in " + std::to_string(groups) + " groups",
                   "equal groups of at least two, and enough experts in the groups that are chosen"});
  }
  out.push_back({divisor % 8 == 0 ? verdict::good : verdict::note, "multiple of 8", range_text(counts),
                 "expert parallelism splits evenly over " + divisors(divisor) + " ranks; vLLM's load balancer asserts that"});
}

}  // namespace

std::string range_text(std::vector<int> const& counts) {
  auto const [low, high] = std::minmax_element(counts.begin(), counts.end());
  return *low == *high ? std::to_string(*low) : std::to_string(*low) + " to " + std::to_string(*high);
}

std::vector<ledger_row> ledger_of(cull::checkpoint const& model, cull::pruning_plan const* plan) {
  std::vector<ledger_row> out;
  for (auto const& row : model.ledger().rows) out.push_back({row.role, row.bytes, {}});
  if (plan == nullptr) return out;
  auto const after = cull::predict(model, *plan);
  for (auto& row : out) {
    auto const found = std::find_if(after.rows.begin(), after.rows.end(), [&](auto const& r) { return r.role == row.role; });
    row.after = found == after.rows.end() ? 0 : found->bytes;
  }
  return out;
}

std::vector<serving_check> serving_checks(cull::checkpoint const& model, cull::pruning_plan const* plan) {
  std::vector<serving_check> out;
  if (plan != nullptr) {
    auto const kept = cull::keep_sets(model, *plan);
    std::vector<int> counts;
    for (auto const& [layer, ids] : kept) counts.push_back(static_cast<int>(ids.size()));
    bool const uniform = std::adjacent_find(counts.begin(), counts.end(), std::not_equal_to<>{}) == counts.end();
    out.push_back({uniform ? verdict::good : verdict::note, "one count for all layers",
                   range_text(counts) + " in each of " + std::to_string(kept.size()) + " layers",
                   uniform ? "config.json has one number; vLLM and SGLang build every layer, MTP's too, from it"
                           : "only engines that read '" + model.family().per_layer_key + "' of config.json can load this"});
    add_count_checks(model.router(), counts, out);
    bool const has_mtp = !model.mtp_layers().empty();
    bool const dropped = plan->mtp.what == cull::mtp_policy::kind::drop;
    if (has_mtp) {
      out.push_back({dropped ? verdict::note : verdict::good, "MTP layer", cull::to_text(plan->mtp),
                     dropped   ? "no speculative decoding with this checkpoint"
                     : uniform ? "pruned to the same count, so that it loads with the others"
                               : "pruned to a count of its own, as every layer"});
    }
  }
  for (auto const& warning : cull::audit(model))
    out.push_back({verdict::note, "source", warning, "of the source model; survivors keep it"});
  return out;
}

}  // namespace report
