// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <vector>

#include "html.hpp"
#include "sections.hpp"
#include "svg.hpp"

namespace report {
namespace {

/// Of the drawing.
constexpr struct { double width = 860, left = 46, right = 848, top = 10; } area;

bool has_doubt(layer_figures const& layer) {
  return layer.cut && std::any_of(layer.experts.begin(), layer.experts.end(), [](auto const& x) { return x.close; });
}

/// Distance from the cut, relative to it.
double away(layer_figures const& layer, expert_figures const& x) { return x.score / *layer.cut - 1; }

/// A row per layer: the experts whose interval reaches the cut.
std::string forest(figures const& of) {
  double reach = 0;
  for (auto const& l : of.layers) {
    for (auto const& x : l.experts) {
      if (x.close) reach = std::max(reach, std::abs(away(l, x)));
    }
  }
  reach = std::max(reach * 1.1, 1e-4);
  double const h = std::clamp(560.0 / static_cast<double>(of.layers.size()), 9.0, 26.0);
  double const end = area.top + h * static_cast<double>(of.layers.size());
  axis const x{-reach, reach, area.left, area.right};
  std::string drawn;
  double const step = round_step(2 * reach, 6);
  for (double v = -std::floor(reach / step) * step; v <= reach; v += step) {
    drawn += line(x(v), area.top, x(v), end, "grid") + label(x(v), end + 14, "middle", significant(100 * v, 3) + " %");
  }
  cells_path kept, dropped;
  double const dot = std::clamp(h * 0.62, 4.0, 9.0);
  for (std::size_t row = 0; row < of.layers.size(); ++row) {
    auto const& l = of.layers[row];
    double const y = area.top + h * (static_cast<double>(row) + 0.5);
    if (h >= 12 || row % 5 == 0) drawn += label(area.left - 8, y + 4, "end", std::to_string(l.layer));
    if (!l.cut) continue;
    for (auto const& e : l.experts) {
      if (e.close) (e.kept ? kept : dropped).add(x(away(l, e)) - dot / 2, y - dot / 2, dot, dot);
    }
  }
  drawn += line(x(0), area.top, x(0), end, "cut") + kept.element("fill-keep mark") + dropped.element("fill-drop mark");
  drawn += label((area.left + area.right) / 2, end + 30, "middle", "score against the cut", "label name");
  return element("div", {{"class", "scroll"}},
                 svg(area.width, end + 38, "wide", "Experts whose interval reaches the cut, by layer", drawn,
                     {{"data-chart", "doubt"},
                      {"data-grid", place(area.left) + " " + place(area.right) + " " + place(area.top) + " " + fixed(h, 4)},
                      {"data-reach", exact(reach)}}));
}

/// What it would take to be sure of the cut.
std::string settling(figures const& of) {
  std::vector<double> more;
  for (auto const& l : of.layers) {
    if (of.has_errors && l.cut && l.to_settle) more.push_back(*l.to_settle);
  }
  if (more.empty()) return {};
  std::sort(more.begin(), more.end());
  auto const number = [](double n) {
    return std::isfinite(n) ? grouped(static_cast<std::int64_t>(n)) : std::string{"no number"};
  };
  auto const settled = std::count(more.begin(), more.end(), 0.0);
  return element("p", count_of(settled, "layer is", "layers are") + " settled. Half of all " +
                          count_of(std::ssize(more), "layer", "layers") + " would be with " +
                          number(more[(more.size() - 1) / 2]) + " sequences more like these, all of them with " +
                          number(more.back()) + ": errors shrink with the root of their number.");
}

template <class Wanted>
std::string ids(layer_figures const& layer, Wanted&& wanted) {
  std::string out;
  for (std::size_t e = 0; e < layer.experts.size(); ++e) {
    if (wanted(layer.experts[e])) out += (out.empty() ? "" : " ") + std::to_string(e);
  }
  return out.empty() ? "–" : out;
}

std::string doubt_table(figures const& of) {
  table out{"doubt-table",
            {"layer", "close, kept", "close, dropped", "starving, kept", "starving, dropped", "never chosen",
             "sequences more to settle"}};
  for (auto const& l : of.layers) {
    auto const cell_of = [&](auto&& wanted) {
      auto const n = std::count_if(l.experts.begin(), l.experts.end(), wanted);
      return cell{element("span", {{"class", "ids"}}, ids(l, wanted)), std::to_string(n)};
    };
    out.rows.push_back({{std::to_string(l.layer) + (l.is_mtp ? " (MTP)" : ""), std::to_string(l.layer)},
                        cell_of([](auto const& x) { return x.close && x.kept; }),
                        cell_of([](auto const& x) { return x.close && !x.kept; }),
                        cell_of([](auto const& x) { return x.starving && x.kept; }),
                        cell_of([](auto const& x) { return x.starving && !x.kept; }),
                        cell_of([](auto const& x) { return x.tokens == 0; }),
                        settle_cell(of, l)});
  }
  return to_html(out);
}

}  // namespace

std::string doubt_section(figures const& of) {
  if (!of.has_observation || !of.has_plan) return {};
  std::string out;
  if (std::any_of(of.layers.begin(), of.layers.end(), has_doubt)) {
    out += legend({{"keep", "kept"}, {"drop", "dropped"}}) + forest(of);
  } else {
    out += element("p", of.has_errors ? "No expert's interval reaches the cut."
                                      : "By " + escaped(of.criterion) +
                                            " nothing can be said about chance: how a maximum scatters does not follow from "
                                            "sums, so it has no standard error.");
  }
  out += settling(of);
  out += element("details", element("summary", "The experts, by layer") + doubt_table(of));
  return section("doubt", "Ties and starving experts",
                 "Experts whose score is within 1.96 standard errors of the cut (tokens of one sequence are not independent; the "
                 "error knows). "
                 "Another calibration set of the same size could have chosen otherwise. Starving: fewer than 32 routed tokens.",
                 out);
}

}  // namespace report
