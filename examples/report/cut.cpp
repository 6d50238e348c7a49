// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "html.hpp"
#include "sections.hpp"
#include "svg.hpp"

namespace report {
namespace {

constexpr double cut_width = 420, cut_height = 330;

/// Both axes in percent, from 0.
struct frame {
  axis x, y;
  std::string drawn;
};

std::string percent_marks(frame const& f, double step_x, double step_y) {
  std::string out;
  for (double v = 0; v <= f.y.high * 1.0001; v += step_y) {
    out +=
        line(f.x.from, f.y(v), f.x.to, f.y(v), "grid") + label(f.x.from - 6, f.y(v) + 4, "end", significant(100 * v, 3) + " %");
  }
  for (double v = 0; v <= f.x.high * 1.0001; v += step_x)
    out += label(f.x(v), f.y.from + 16, "middle", significant(100 * v, 3) + " %");
  return out;
}

double most(figures const& of, double layer_figures::*member) {
  double out = 0;
  for (auto const& layer : of.layers) out = std::max(out, layer.*member);
  return std::max(out, 1e-6);
}

std::string tip_of(layer_figures const& l) {
  return name_of(l) + ": " + percent(l.mass_dropped, 2) + " of the mass, " + percent(l.traffic_dropped, 2) +
         " of the traffic dropped";
}

/// A point per layer: what the dropped experts gave against how often they were asked.
std::string scatter(figures const& of) {
  double const top = std::max(most(of, &layer_figures::mass_dropped), most(of, &layer_figures::traffic_dropped)) * 1.08;
  frame f{{0, top, 52, cut_width - 12}, {0, top, cut_height - 44, 14}, {}};
  double const step = round_step(top, 5);
  f.drawn = percent_marks(f, step, step) + line(f.x(0), f.y(0), f.x(top), f.y(top), "diagonal");
  f.drawn += label(f.x(top * 0.97), f.y(top) + 12, "end", "mass = traffic", "label quiet");
  for (std::size_t i = 0; i < of.layers.size(); ++i) {
    auto const& l = of.layers[i];
    auto const depth = of.layers.size() > 1 ? i * 8 / (of.layers.size() - 1) : 0;
    f.drawn += circle(f.x(l.traffic_dropped), f.y(l.mass_dropped), 5, "point fill-s" + std::to_string(depth), tip_of(l));
    if (of.layers.size() <= 12)
      f.drawn += label(f.x(l.traffic_dropped) + 8, f.y(l.mass_dropped) + 4, "start", std::to_string(l.layer));
  }
  f.drawn += label((f.x.from + f.x.to) / 2, cut_height - 8, "middle", "traffic dropped", "label name");
  f.drawn += element(
      "text", {{"class", "label name middle"}, {"transform", "translate(13 " + place((f.y.from + f.y.to) / 2) + ") rotate(-90)"}},
      "mass dropped");
  return svg(cut_width, cut_height, "chart", "Mass dropped against traffic dropped, a point per layer", f.drawn);
}

std::string depth_scale(figures const& of) {
  std::string boxes;
  for (int c = 0; c < 9; ++c) boxes += element("i", {{"class", "box bg-s" + std::to_string(c)}});
  auto const end = [](layer_figures const& l) { return element("span", name_of(l)); };
  return element("p", {{"class", "legend scale"}},
                 end(of.layers.front()) + element("span", {{"class", "boxes"}}, boxes) + end(of.layers.back()));
}

std::string polyline(figures const& of, frame const& f, double layer_figures::*member, std::string const& kind) {
  std::string d, points;
  for (std::size_t i = 0; i < of.layers.size(); ++i) {
    double const x = f.x(static_cast<double>(i)), y = f.y(of.layers[i].*member);
    d += (i == 0 ? "M" : "L") + place(x) + " " + place(y);
    points += circle(x, y, of.layers.size() > 30 ? 2.5 : 4, "point fill-" + kind, tip_of(of.layers[i]));
  }
  return element("path", {{"class", "line stroke-" + kind}, {"d", d}}) + points;
}

/// The same over depth.
std::string profile(figures const& of) {
  double const top = std::max(most(of, &layer_figures::mass_dropped), most(of, &layer_figures::traffic_dropped)) * 1.08;
  auto const last = std::max<double>(1, static_cast<double>(of.layers.size()) - 1);
  frame f{{0, last, 52, cut_width - 16}, {0, top, cut_height - 44, 14}, {}};
  double const step = round_step(top, 5);
  for (double v = 0; v <= top; v += step)
    f.drawn +=
        line(f.x.from, f.y(v), f.x.to, f.y(v), "grid") + label(f.x.from - 6, f.y(v) + 4, "end", significant(100 * v, 3) + " %");
  auto const every = std::max<std::size_t>(1, (of.layers.size() + 7) / 8);
  for (std::size_t i = 0; i < of.layers.size(); i += every)
    f.drawn += label(f.x(static_cast<double>(i)), f.y.from + 16, "middle", std::to_string(of.layers[i].layer));
  f.drawn += label((f.x.from + f.x.to) / 2, cut_height - 8, "middle", "layer", "label name");
  f.drawn += polyline(of, f, &layer_figures::traffic_dropped, "drop") + polyline(of, f, &layer_figures::mass_dropped, "keep");
  return svg(cut_width, cut_height, "chart", "Mass and traffic dropped by layer", f.drawn);
}

std::string layer_table(figures const& of) {
  table out{"layers",
            {"layer", "experts", "kept", "margin at the cut", "mass dropped", "traffic dropped", "close to the cut", "starving",
             "sequences more to settle"}};
  auto const optional = [](std::optional<std::int64_t> const& n) { return n ? number_cell(*n) : cell{"–", "null"}; };
  for (auto const& l : of.layers) {
    std::vector<cell> row{{std::to_string(l.layer) + (l.is_mtp ? " (MTP)" : ""), std::to_string(l.layer)},
                          number_cell(l.experts_before),
                          number_cell(l.kept),
                          l.margin ? number_cell(*l.margin, percent(*l.margin, 3)) : cell{"–", "null"}};
    if (of.has_observation) {
      row.push_back(number_cell(l.mass_dropped, percent(l.mass_dropped, 2)));
      row.push_back(number_cell(l.traffic_dropped, percent(l.traffic_dropped, 2)));
    } else {
      row.resize(6, cell{"–", "null"});
    }
    row.insert(row.end(), {of.has_errors ? optional(l.close) : cell{"–", "null"}, optional(l.starving), settle_cell(of, l)});
    out.rows.push_back(std::move(row));
  }
  return to_html(out);
}

}  // namespace

std::string cut_section(figures const& of) {
  if (of.layers.empty() || !of.has_plan) return {};
  std::string charts;
  if (of.has_observation) {
    auto const caption = "A point per layer. Below the line: the experts that go gave less than their share of tokens.";
    charts = element("div", {{"class", "pair"}},
                     element("figure", scatter(of) + depth_scale(of) + element("figcaption", caption)) +
                         element("figure", profile(of) + legend({{"keep", "mass"}, {"drop", "traffic"}})));
  }
  return section(
      "cut", "What the cut drops",
      "Mass is the sum of gate × output norm over the routed tokens; traffic is the routed tokens themselves. The margin is the "
      "relative gap between the last expert kept and the first dropped.",
      charts + element("details", element("summary", "All layers, as a table") + layer_table(of)));
}

}  // namespace report
