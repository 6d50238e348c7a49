// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cmath>
#include <functional>

#include "html.hpp"
#include "sections.hpp"
#include "svg.hpp"

namespace report {
namespace {

constexpr double beside = 40, above = 8, below = 34;

/// Colour class of one expert, or -1 for one that was never chosen.
using shade = std::function<int(layer_figures const&, expert_figures const&)>;

struct heat_map {
  std::string label;
  std::string family;  ///< of colour classes
  int classes;
  shade of;
};

/// The score against the cut (or the layer's middle score), in steps of a third of a doubling, five to each side.
int against_cut(layer_figures const& layer, expert_figures const& x) {
  if (x.tokens == 0 || !(x.score > 0)) return -1;
  double reference = layer.cut.value_or(0);
  if (!(reference > 0)) {
    std::vector<double> scores;
    for (auto const& e : layer.experts) scores.push_back(e.score);
    std::nth_element(scores.begin(), scores.begin() + static_cast<std::ptrdiff_t>(scores.size() / 2), scores.end());
    reference = scores[scores.size() / 2];
  }
  if (!(reference > 0)) return 10;
  return static_cast<int>(std::clamp(std::round(std::log2(x.score / reference) * 3), -5.0, 5.0)) + 5;
}

/// Traffic against an even share, in steps of three quarters of a doubling, four to each side.
int against_even(layer_figures const& layer, expert_figures const& x) {
  double total = 0;
  for (auto const& e : layer.experts) total += e.traffic;
  if (x.tokens == 0 || !(total > 0)) return -1;
  double const share = x.traffic / total * static_cast<double>(layer.experts.size());
  return static_cast<int>(std::clamp(std::round(std::log2(share) / 0.75), -4.0, 4.0)) + 4;
}

std::string draw(figures const& of, heat_map const& map) {
  std::size_t most = 1;
  for (auto const& layer : of.layers) most = std::max(most, layer.experts.size());
  double const w = std::clamp(1024.0 / static_cast<double>(most), 2.0, 15.0);
  double const h = std::clamp(560.0 / static_cast<double>(of.layers.size()), 7.0, 24.0);
  std::vector<cells_path> cells(static_cast<std::size_t>(map.classes) + 1);
  std::string drawn;
  auto const every = h >= 12 ? std::size_t{1} : std::size_t{5};
  for (std::size_t row = 0; row < of.layers.size(); ++row) {
    double const y = above + h * static_cast<double>(row);
    for (std::size_t e = 0; e < of.layers[row].experts.size(); ++e) {
      auto const& x = of.layers[row].experts[e];
      // Dropped experts are lower: the cut can be seen without colours.
      double const tall = x.kept ? h - 0.8 : std::max(2.0, h * 0.5);
      cells[static_cast<std::size_t>(map.of(of.layers[row], x) + 1)].add(beside + w * static_cast<double>(e),
                                                                         y + (h - 0.8 - tall), w * 0.92, tall);
    }
    if (row % every == 0) drawn += label(beside - 6, y + h / 2 + 4, "end", std::to_string(of.layers[row].layer));
  }
  drawn += cells[0].element("fill-never");
  for (int c = 0; c < map.classes; ++c)
    drawn += cells[static_cast<std::size_t>(c) + 1].element("fill-" + map.family + std::to_string(c));
  double const end = above + h * static_cast<double>(of.layers.size());
  auto const step = static_cast<std::size_t>(round_step(static_cast<double>(most), 8));
  for (std::size_t e = 0; e < most; e += std::max<std::size_t>(1, step))
    drawn += label(beside + w * (static_cast<double>(e) + 0.5), end + 13, "middle", std::to_string(e));
  drawn += label(beside + w * static_cast<double>(most) / 2, end + 28, "middle", "expert", "label name");
  double const wide = beside + w * static_cast<double>(most) + 8;
  return element("div", {{"class", "scroll"}},
                 svg(wide, end + below, "heat", map.label, drawn,
                     {{"data-chart", "heat"},
                      {"style", "min-width:" + place(wide * 0.72) + "px"},
                      {"data-grid", place(beside) + " " + place(above) + " " + fixed(w, 4) + " " + fixed(h, 4)}}));
}

std::string scale(std::string const& family, int classes, std::string_view low, std::string_view middle, std::string_view high) {
  std::string out = element("span", low);
  std::string boxes;
  for (int c = 0; c < classes; ++c) boxes += element("i", {{"class", "box bg-" + family + std::to_string(c)}});
  out += element("span", {{"class", "boxes"}}, boxes) + element("span", high);
  return element("p", {{"class", "legend scale"}},
                 out + (middle.empty() ? std::string{} : element("span", middle)) +
                     element("span", element("i", {{"class", "swatch never"}}) + "never chosen"));
}

}  // namespace

std::string heat_section(figures const& of) {
  if (!of.has_observation) return {};
  auto const middle = of.has_plan ? "pale: at the cut" : "pale: the layer's middle expert";
  auto out = element("h3", of.has_plan ? "Score against the layer's cut" : "Score against the layer's middle") +
             scale("d", 11, "≤ ⅓", middle, "≥ 3 ×") + draw(of, {"Scores of all experts, a row per layer", "d", 11, against_cut});
  out += element("h3", "Traffic against an even share") + scale("q", 9, "≤ ⅛", "", "≥ 8 ×") +
         draw(of, {"Traffic of all experts, a row per layer", "q", 9, against_even});
  return section("heat", "All layers and experts",
                 of.has_plan ? "A row per layer, a column per expert; low cells are dropped experts."
                             : "A row per layer, a column per expert.",
                 out);
}

}  // namespace report
