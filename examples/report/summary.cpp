// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <vector>

#include "html.hpp"
#include "sections.hpp"

namespace report {
namespace {

std::string tile(std::string_view number, std::string_view what) {
  return element("div", {{"class", "tile"}}, element("b", number) + element("span", what));
}

std::string count_range(figures const& of, std::int64_t layer_figures::*member) {
  auto const [low, high] = std::minmax_element(of.layers.begin(), of.layers.end(),
                                               [&](auto const& a, auto const& b) { return a.*member < b.*member; });
  auto const first = grouped((*low).*member);
  return (*low).*member == (*high).*member ? first : first + "–" + grouped((*high).*member);
}

struct totals {
  double mass = 0, traffic = 0;  ///< shares dropped, mean over layers
  std::int64_t close = 0, starving = 0;
  std::vector<double> to_settle;  ///< of the layers with a cut
};

/// What settles half of the layers; nothing where they are settled already, or scores are equal.
std::string settle_tile(totals sum) {
  if (sum.to_settle.empty()) return {};
  auto const middle = sum.to_settle.begin() + (std::ssize(sum.to_settle) - 1) / 2;
  std::nth_element(sum.to_settle.begin(), middle, sum.to_settle.end());
  if (*middle == 0 || !std::isfinite(*middle)) return {};
  return tile("+ " + grouped(static_cast<std::int64_t>(*middle)), "sequences would settle the cut of half of the layers");
}
totals add_up(figures const& of) {
  totals out;
  for (auto const& layer : of.layers) {
    out.mass += layer.mass_dropped / static_cast<double>(of.layers.size());
    out.traffic += layer.traffic_dropped / static_cast<double>(of.layers.size());
    for (auto const& x : layer.experts) {
      out.close += x.close ? 1 : 0;
      out.starving += x.starving ? 1 : 0;
    }
    if (of.has_errors && layer.cut && layer.to_settle) out.to_settle.push_back(*layer.to_settle);
  }
  return out;
}

std::string byte_tile(figures const& of) {
  std::uint64_t before = 0, after = 0;
  bool cut = false;
  for (auto const& row : of.ledger) {
    before += row.before;
    after += row.after.value_or(0);
    cut = cut || row.after.has_value();
  }
  if (before == 0) return {};
  return tile(cut ? bytes(before) + " → " + bytes(after) : bytes(before), "of tensors");
}

}  // namespace

cell settle_cell(figures const& of, layer_figures const& layer) {
  if (!layer.to_settle || !of.has_errors) return {"–", "null"};
  if (!std::isfinite(*layer.to_settle)) return {"equal scores", "null"};
  return number_cell(static_cast<std::int64_t>(*layer.to_settle));
}

std::string summary_section(figures const& of) {
  std::string tiles;
  if (!of.layers.empty()) {
    auto const before = count_range(of, &layer_figures::experts_before);
    tiles += tile(of.has_plan ? (before == "0" ? "" : before + " → ") + count_range(of, &layer_figures::kept) : before,
                  "experts in each of " + count_of(static_cast<std::int64_t>(of.layers.size()), "layer", "layers"));
  }
  tiles += byte_tile(of);
  if (of.has_observation && of.has_plan) {
    auto const sum = add_up(of);
    tiles += tile(percent(sum.mass), "of the experts' output mass dropped, mean over layers");
    tiles += tile(percent(sum.traffic), "of the routed traffic loses its expert");
    if (of.has_errors) tiles += tile(grouped(sum.close), "experts that chance could move over the cut") + settle_tile(sum);
    tiles += tile(grouped(sum.starving), "starving experts: too few tokens to judge");
  }
  std::string facts;
  for (auto const& [name, text] : of.facts) facts += element("dt", escaped(name)) + element("dd", escaped(text));
  return element("section", {{"id", "summary"}},
                 element("div", {{"class", "tiles"}}, tiles) + (facts.empty() ? "" : element("dl", facts))) +
         "\n";
}

std::string name_of(layer_figures const& layer) {
  return "layer " + std::to_string(layer.layer) + (layer.is_mtp ? " (MTP)" : "");
}

}  // namespace report
