// SPDX-License-Identifier: Apache-2.0
#include "ledger.hpp"

#include <algorithm>

namespace report {
namespace {

std::string divisors(int count) {
  std::string out;
  for (int ranks = 2; ranks <= 16; ++ranks) {
    if (count % ranks == 0) out += (out.empty() ? "" : ", ") + std::to_string(ranks);
  }
  return out.empty() ? "no number of" : out;
}

void add_count_checks(cull::router_settings const& r, int count, std::vector<serving_check>& out) {
  int const groups = std::max(1, r.groups);
  out.push_back({count >= r.top_k ? verdict::good : verdict::bad, "chosen of kept",
                 std::to_string(r.top_k) + " of " + std::to_string(count), "the router must find as many experts as it chooses"});
  if (groups > 1) {
    bool const fits = count % groups == 0 && count / groups >= 2 && count / groups * std::max(1, r.top_groups) >= r.top_k;
    out.push_back({fits ? verdict::good : verdict::bad, "groups",
                   std::to_string(count) + " in " + std::to_string(groups) + " groups",
                   "equal groups of at least two, and enough experts in the groups that are chosen"});
  }
  out.push_back({count % 8 == 0 ? verdict::good : verdict::note, "multiple of 8", std::to_string(count),
                 "expert parallelism splits evenly over " + divisors(count) + " ranks; vLLM's load balancer asserts that"});
}

}  // namespace

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
    auto const count = static_cast<int>(kept.begin()->second.size());
    bool const uniform =
        std::all_of(kept.begin(), kept.end(), [&](auto const& k) { return static_cast<int>(k.second.size()) == count; });
    out.push_back({uniform ? verdict::good : verdict::note, "one count for all layers",
                   uniform ? std::to_string(count) + " in each of " + std::to_string(kept.size()) + " layers" : "counts differ",
                   uniform ? "config.json has one number; vLLM and SGLang build every layer, MTP's too, from it"
                           : "only engines that read a count per layer can load this"});
    add_count_checks(model.router(), count, out);
    bool const has_mtp = !model.mtp_layers().empty();
    bool const dropped = plan->mtp.what == cull::mtp_policy::kind::drop;
    if (has_mtp) {
      out.push_back({dropped ? verdict::note : verdict::good, "MTP layer", cull::to_text(plan->mtp),
                     dropped ? "no speculative decoding with this checkpoint"
                             : "pruned to the same count, so that it loads with the others"});
    }
  }
  for (auto const& warning : cull::audit(model))
    out.push_back({verdict::note, "source", warning, "of the source model; survivors keep it"});
  return out;
}

}  // namespace report
