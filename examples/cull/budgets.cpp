// SPDX-License-Identifier: Apache-2.0
#include "budgets.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>

namespace program {
namespace {

int groups_of(cull::checkpoint const& model) {
  int const groups = std::max(1, model.router().groups);
  if (model.experts() % groups != 0) {
    throw cull::error{cull::errc::bad_config, "the model's " + std::to_string(model.experts()) +
                                                  " experts do not divide into its router's " + std::to_string(groups) + " groups"};
  }
  return groups;
}

/// The least number of experts in a layer that the router can work with.
std::int64_t least(cull::checkpoint const& model) {
  auto const& r = model.router();
  int const groups = groups_of(model), open = std::min(groups, std::max(1, r.top_groups));
  std::int64_t const per_group = std::max<std::int64_t>(groups > 1 ? 2 : 1, (std::int64_t{r.top_k} + open - 1) / open);
  return groups * per_group;
}

std::int64_t round_up(std::int64_t value, std::int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

cull::layer_budget budget_of(int count, budget_options const& wanted, cull::checkpoint const& model, layer_scores const& scores) {
  int const groups = groups_of(model);
  if (wanted.kind == "non-uniform") {
    auto const minimum = round_up(std::max<std::int64_t>(wanted.minimum, least(model)), wanted.step);
    return cull::water_fill(scores, {.total = count * static_cast<int>(scores.size()),
                                     .minimum = static_cast<int>(std::min<std::int64_t>(minimum, std::numeric_limits<int>::max())),
                                     .step = wanted.step,
                                     .groups = groups});
  }
  cull::layer_budget out{{}, groups};
  for (auto const& [layer, values] : scores) out.counts[layer] = count;
  return out;
}

int fitting_count(budget_options const& wanted, cull::checkpoint const& model, auto&& size_of_count) {
  std::vector<int> counts;
  auto const multiple = std::lcm<std::int64_t>(std::max(wanted.multiple, 1), groups_of(model));
  for (auto n = round_up(least(model), multiple); n <= model.experts(); n += multiple) counts.push_back(static_cast<int>(n));
  auto const limit = static_cast<std::uint64_t>(std::floor(wanted.fit_gib * 1024 * 1024 * 1024));
  auto const found = cull::largest_fit(counts, limit, size_of_count);
  if (!found) {
    throw cull::error{cull::errc::out_of_range, "no number of experts fits into " + std::to_string(limit) +
                                                    " bytes: the least, " + std::to_string(counts.empty() ? 0 : counts.front()) +
                                                    ", is larger"};
  }
  return *found;
}

}  // namespace

void budget_options::add_to(CLI::App& verb) {
  auto* const how_many = verb.add_option_group("budget", "How many experts stay in each layer");
  how_many->add_option("--keep", keep, "so many")->check(CLI::Range(1, 65536));
  how_many->add_option("--ratio", ratio, "this share of them, rounded down")->check(CLI::Range(0.0, 1.0));
  how_many->add_option("--fit-gib", fit_gib, "as many as make all files together no larger than this")
      ->check(CLI::PositiveNumber);
  how_many->require_option(1);
  verb.add_option("--multiple", multiple, "with --fit-gib: only multiples of this")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  verb.add_option("--budget", kind, "uniform, or non-uniform: the same total given out where it saves most")
      ->check(CLI::IsMember({"uniform", "non-uniform"}))
      ->capture_default_str();
  verb.add_option("--minimum", minimum, "with --budget non-uniform: least experts in a layer")->check(CLI::Range(1, 65536));
  verb.add_option("--step", step, "with --budget non-uniform: every layer keeps a multiple of this")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
}

void budget_options::check() const {
  if (minimum > 0 && kind == "uniform") throw CLI::ValidationError{"--minimum", "goes with --budget non-uniform"};
}

cull::layer_budget resolve(budget_options const& wanted, cull::checkpoint const& model, layer_scores const& scores,
                           std::function<std::uint64_t(cull::layer_budget const&)> const& size_of) {
  int count = wanted.keep;
  if (wanted.ratio > 0) {
    int const groups = groups_of(model);
    // The smallest nudge, so that 0.66 of 50 is 33 although 0.66 is less than that in binary.
    count = static_cast<int>(std::floor(wanted.ratio * model.experts() + 1e-9)) / groups * groups;
  }
  if (wanted.fit_gib > 0) {
    count = fitting_count(wanted, model, [&](int n) { return size_of(budget_of(n, wanted, model, scores)); });
  }
  return budget_of(count, wanted, model, scores);
}

std::vector<std::string> serving_notes(cull::checkpoint const& model, cull::pruning_plan const& made) {
  std::vector<std::string> out;
  int const count = made.layers.empty() ? 0 : static_cast<int>(made.layers.begin()->second.size());
  if (count % 8 != 0) {
    std::string sizes;
    for (int ranks = 2; ranks <= 8; ++ranks) {
      if (count % ranks == 0) sizes += (sizes.empty() ? "" : ", ") + std::to_string(ranks);
    }
    out.push_back(std::to_string(count) + " is no multiple of 8: expert parallelism splits evenly over " +
                  (sizes.empty() ? "no number of" : sizes) + " ranks");
  }
  if (made.mtp.what == cull::mtp_policy::kind::drop && !model.mtp_layers().empty())
    out.push_back("without the MTP layer there is no speculative decoding");
  return out;
}

}  // namespace program
