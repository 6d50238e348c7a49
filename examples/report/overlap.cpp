// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include <cull/selection/compare.hpp>

#include "html.hpp"
#include "sections.hpp"
#include "svg.hpp"

namespace report {
namespace {

constexpr std::size_t most_series = 6;

/// The layers that both have, compared.
std::vector<cull::keep_set_comparison> compared(keep_sets const& a, keep_sets const& b) {
  std::vector<cull::keep_set_comparison> out;
  for (auto const& [layer, kept] : a.layers) {
    auto const found = b.layers.find(layer);
    if (found == b.layers.end()) continue;
    out.push_back(cull::compare(kept, found->second));
    out.back().layer = layer;
  }
  return out;
}

double mean_jaccard(std::vector<cull::keep_set_comparison> const& layers) {
  double sum = 0;
  for (auto const& l : layers) sum += l.jaccard;
  return layers.empty() ? 0 : sum / static_cast<double>(layers.size());
}

std::string matrix(overlap const& of) {
  table out{of.id + "-matrix", {"mean Jaccard"}};
  for (auto const& set : of.sets) out.heads.push_back(escaped(set.name));
  for (auto const& a : of.sets) {
    std::vector<cell> row{{element("b", escaped(a.name)), a.name}};
    for (auto const& b : of.sets) {
      double const value = mean_jaccard(compared(a, b));
      row.push_back(number_cell(value, fixed(value, 3)));
    }
    out.rows.push_back(std::move(row));
  }
  return to_html(out);
}

/// What random keep-sets of these sizes would share, about; mean over layers.
double by_chance(std::vector<cull::keep_set_comparison> const& layers, std::int64_t experts) {
  double sum = 0;
  for (auto const& l : layers) {
    auto const first = static_cast<double>(l.both.size() + l.only_first.size());
    auto const second = static_cast<double>(l.both.size() + l.only_second.size());
    double const both = first * second / static_cast<double>(experts);
    sum += both / (first + second - both);
  }
  return sum / static_cast<double>(layers.size());
}

std::string marks(axis const& x, axis const& y, std::vector<cull::keep_set_comparison> const& layers) {
  std::string out;
  double const step = round_step(1 - y.low, 5);
  for (double v = std::ceil(y.low / step) * step; v <= 1.0001; v += step)
    out += line(x.from, y(v), x.to, y(v), "grid") + label(x.from - 6, y(v) + 4, "end", significant(v, 2));
  auto const every = std::max<std::size_t>(1, (layers.size() + 9) / 10);
  for (std::size_t i = 0; i < layers.size(); i += every)
    out += label(x(static_cast<double>(i)), y.from + 16, "middle", std::to_string(layers[i].layer));
  return out + label((x.from + x.to) / 2, y.from + 32, "middle", "layer", "label name");
}

/// Jaccard per layer of the first set with each other one.
std::string per_layer(overlap const& of, std::int64_t experts) {
  std::vector<std::vector<cull::keep_set_comparison>> series;
  double low = 1;
  for (std::size_t s = 1; s < of.sets.size() && s <= most_series; ++s) {
    series.push_back(compared(of.sets[0], of.sets[s]));
    for (auto const& l : series.back()) low = std::min(low, l.jaccard);
  }
  if (series.empty() || series[0].empty()) return {};
  double const chance = experts > 0 ? by_chance(series[0], experts) : 0;
  axis const x{0, std::max<double>(1, static_cast<double>(series[0].size()) - 1), 44, 408},
      y{std::max(0.0, std::min(low, chance) - 0.05), 1, 240, 12};
  auto drawn = marks(x, y, series[0]);
  if (experts > 0)
    drawn += line(x.from, y(chance), x.to, y(chance), "diagonal") + label(x.to, y(chance) - 4, "end", "by chance", "label quiet");
  std::string names;
  for (std::size_t s = 0; s < series.size(); ++s) {
    auto const kind = "c" + std::to_string(s);
    std::string d, points;
    for (std::size_t i = 0; i < series[s].size(); ++i) {
      double const px = x(static_cast<double>(i)), py = y(series[s][i].jaccard);
      d += (i == 0 ? "M" : "L") + place(px) + " " + place(py);
      points += circle(px, py, series[s].size() > 30 ? 2.5 : 4, "point fill-" + kind,
                       "layer " + std::to_string(series[s][i].layer) + ": " + fixed(series[s][i].jaccard, 3) + ", " +
                           std::to_string(series[s][i].only_first.size()) + " only in " + of.sets[0].name + ", " +
                           std::to_string(series[s][i].only_second.size()) + " only in " + of.sets[s + 1].name);
    }
    drawn += element("path", {{"class", "line stroke-" + kind}, {"d", d}}) + points;
    names +=
        element("span", element("i", {{"class", "swatch " + kind}}) + escaped(of.sets[0].name + " and " + of.sets[s + 1].name));
  }
  return element("figure", svg(420, 280, "chart", "Jaccard index of the keep-sets, layer by layer", drawn) +
                               element("p", {{"class", "legend"}}, names));
}

struct flow_counts {
  std::int64_t both = 0, first = 0, second = 0, none = 0;
};

/// How the experts of all layers go from one keep-set to the other.
std::string flows(keep_sets const& a, keep_sets const& b, std::int64_t experts) {
  flow_counts n;
  for (auto const& l : compared(a, b)) {
    n.both += static_cast<std::int64_t>(l.both.size());
    n.first += static_cast<std::int64_t>(l.only_first.size());
    n.second += static_cast<std::int64_t>(l.only_second.size());
    n.none += experts - static_cast<std::int64_t>(l.both.size() + l.only_first.size() + l.only_second.size());
  }
  n.none = std::max<std::int64_t>(0, n.none);
  double const all = static_cast<double>(n.both + n.first + n.second + n.none);
  if (!(all > 0)) return {};
  constexpr double l0 = 96, l1 = 108, r0 = 312, r1 = 324, y0 = 34, tall = 190, gap = 14;
  auto const size = [&](std::int64_t count) { return static_cast<double>(count) / all * tall; };
  auto const ribbon = [&](double from, double to, std::int64_t count, std::string const& kind, std::string const& tip) {
    double const h = size(count), m = (l1 + r0) / 2;
    if (count == 0) return std::string{};
    auto const d = "M" + place(l1) + " " + place(from) + "C" + place(m) + " " + place(from) + " " + place(m) + " " + place(to) +
                   " " + place(r0) + " " + place(to) + "v" + place(h) + "C" + place(m) + " " + place(to + h) + " " + place(m) +
                   " " + place(from + h) + " " + place(l1) + " " + place(from + h) + "z";
    return element("path", {{"class", "ribbon " + kind}, {"d", d}}, element("title", escaped(tip)));
  };
  double const a_drops = y0 + size(n.both + n.first) + gap, b_drops = y0 + size(n.both + n.second) + gap;
  auto drawn =
      ribbon(y0, y0, n.both, "fill-keep", grouped(n.both) + " kept by both") +
      ribbon(a_drops + size(n.second), b_drops + size(n.first), n.none, "fill-rest", grouped(n.none) + " dropped by both") +
      ribbon(y0 + size(n.both), b_drops, n.first, "fill-drop", grouped(n.first) + " kept by " + a.name + " only") +
      ribbon(a_drops, y0 + size(n.both), n.second, "fill-c3", grouped(n.second) + " kept by " + b.name + " only");
  auto const node = [&](double x, double y, std::int64_t count) { return rect(x, y, 12, std::max(1.0, size(count)), "node"); };
  drawn += node(l0, y0, n.both + n.first) + node(l0, a_drops, n.second + n.none) + node(r0, y0, n.both + n.second) +
           node(r0, b_drops, n.first + n.none);
  auto const note = [&](double x, char const* anchor, double y, std::int64_t count, char const* what) {
    return label(x, y + size(count) / 2 - 2, anchor, grouped(count), "label name") +
           label(x, y + size(count) / 2 + 11, anchor, what, "label small");
  };
  drawn += note(l0 - 8, "end", y0, n.both + n.first, "kept") + note(l0 - 8, "end", a_drops, n.second + n.none, "dropped");
  drawn += note(r1 + 8, "start", y0, n.both + n.second, "kept") + note(r1 + 8, "start", b_drops, n.first + n.none, "dropped");
  drawn += label(l0 + 6, 18, "middle", a.name, "label name") + label(r0 + 6, 18, "middle", b.name, "label name");
  auto const words = grouped(n.both) + " kept by both, " + grouped(n.first) + " by " + a.name + " only, " + grouped(n.second) +
                     " by " + b.name + " only";
  return element("figure",
                 svg(420, 256, "chart", "Experts between two keep-sets", drawn) + element("figcaption", escaped(words)));
}

std::string differences(overlap const& of) {
  auto const text = [](std::vector<int> const& list) {
    std::string out;
    for (int const id : list) out += (out.empty() ? "" : " ") + std::to_string(id);
    return cell{element("span", {{"class", "ids"}}, out.empty() ? "–" : out), std::to_string(list.size())};
  };
  std::string out;
  for (std::size_t s = 1; s < of.sets.size(); ++s) {
    table t{of.id + "-" + std::to_string(s),
            {"layer", "Jaccard", "only " + escaped(of.sets[0].name), "only " + escaped(of.sets[s].name)}};
    for (auto const& l : compared(of.sets[0], of.sets[s]))
      t.rows.push_back(
          {number_cell(l.layer), number_cell(l.jaccard, fixed(l.jaccard, 3)), text(l.only_first), text(l.only_second)});
    out += element("details", element("summary", escaped("Experts that differ: " + of.sets[0].name + " and " + of.sets[s].name)) +
                                  to_html(t));
  }
  return out;
}

}  // namespace

std::string overlap_section(figures const& of) {
  std::string out;
  std::int64_t experts = 0;
  for (auto const& l : of.layers) experts = std::max(experts, l.experts_before);
  for (auto const& each : of.overlaps) {
    out += element("h3", escaped(each.title)) + element("p", {{"class", "how"}}, "Keep-sets: " + escaped(each.how) + ".") +
           matrix(each);
    std::string charts = per_layer(each, experts);
    for (std::size_t s = 1; s < each.sets.size() && s <= most_series; ++s) {
      if (experts > 0) charts += flows(each.sets[0], each.sets[s], experts);
    }
    out += element("div", {{"class", "pair"}}, charts) + differences(each);
  }
  if (out.empty()) return {};
  return section("overlap", "How much the choice depends on what was read",
                 "Jaccard index: experts kept by both over experts kept by either; 1 where two calibrations agree.", out);
}

}  // namespace report
