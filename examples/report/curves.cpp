// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numeric>

#include "html.hpp"
#include "sections.hpp"
#include "svg.hpp"

namespace report {
namespace {

/// Of a panel.
constexpr struct { double width = 200, height = 118, left = 4, right = 196, top = 22, bottom = 104; } box;

/// Places of the experts from the best down; equal scores by id.
std::vector<std::size_t> ranking(layer_figures const& layer) {
  std::vector<std::size_t> order(layer.experts.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return layer.experts[a].score > layer.experts[b].score; });
  return order;
}

/// Logarithmic, over the scores that are not 0, at most four powers of ten.
axis score_axis(layer_figures const& layer) {
  double high = 0, low = INFINITY;
  for (auto const& x : layer.experts) {
    high = std::max(high, x.score);
    if (x.score > 0) low = std::min(low, x.score);
  }
  if (high <= 0) return {0, 1, box.bottom, box.top};
  return {std::log10(std::max(low, high * 1e-4)) - 0.04, std::log10(high), box.bottom, box.top};
}
double height_of(axis const& y, double score) {
  return score > 0 ? std::clamp(y(std::log10(score)), box.top, box.bottom) : box.bottom;
}

std::string band(layer_figures const& layer, std::vector<std::size_t> const& order, axis const& x, axis const& y) {
  std::string up, down;
  for (std::size_t i = 0; i < order.size(); ++i) {
    auto const& e = layer.experts[order[i]];
    if (!(e.error > 0)) continue;
    auto const at = place(x(static_cast<double>(i) + 0.5)) + " ";
    up += (up.empty() ? "M" : "L") + at + place(height_of(y, e.score + 1.96 * e.error));
    down = "L" + at + place(height_of(y, e.score - 1.96 * e.error)) + down;
  }
  return up.empty() ? up : element("path", {{"class", "band"}, {"d", up + down + "z"}});
}

std::string panel(figures const& of, std::size_t index) {
  auto const& layer = of.layers[index];
  auto const order = ranking(layer);
  axis const x{0, static_cast<double>(order.size()), box.left, box.right}, y = score_axis(layer);
  cells_path kept, dropped;
  double const step = (box.right - box.left) / static_cast<double>(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    auto const& e = layer.experts[order[i]];
    double const at = std::min(height_of(y, e.score), box.bottom - 0.8);
    (e.kept ? kept : dropped).add(x(static_cast<double>(i)), at, step < 2 ? step : step * 0.86, box.bottom - at);
  }
  auto drawn = kept.element("fill-keep") + dropped.element("fill-drop") + band(layer, order, x, y);
  drawn += line(box.left, box.bottom, box.right, box.bottom, "axis");
  if (layer.cut && layer.kept < layer.experts_before) {
    double const cut = x(static_cast<double>(layer.kept));
    drawn += line(cut, box.top - 2, cut, box.bottom, "cut");
    drawn += label(cut, box.bottom + 11, "middle", grouped(layer.kept), "label small");
  }
  drawn += label(box.left, 12, "start", name_of(layer), "label name");
  if (layer.margin) drawn += label(box.right, 12, "end", "margin " + percent(*layer.margin, 2), "label small");
  return svg(
      box.width, box.height, "panel", "Scores of " + name_of(layer) + ", sorted", drawn,
      {{"data-chart", "curve"}, {"data-layer", std::to_string(index)}, {"data-x", place(box.left) + " " + place(box.right)}});
}

}  // namespace

std::string curves_section(figures const& of) {
  if (!of.has_observation) return {};
  std::string panels;
  for (std::size_t i = 0; i < of.layers.size(); ++i) panels += panel(of, i) + "\n";
  return section(
      "curves", "Saliency of every expert, layer by layer",
      "A bar per expert, best first, its score (" + escaped(of.criterion) +
          ") on a logarithmic scale of the layer's own; the line is the cut, the shade 1.96 standard errors. A steep curve at "
          "the cut "
          "is an easy choice, a flat one is not.",
      (of.has_plan ? legend({{"keep", "kept"}, {"drop", "dropped"}, {"band", "± 1.96 standard errors"}}) : std::string{}) +
          element("div", {{"class", "panels"}}, panels));
}

std::string data_json(figures const& of) {
  auto const list = [](layer_figures const& layer, auto&& value) {
    std::string out;
    for (auto const& x : layer.experts) out += (out.empty() ? "" : ",") + value(x);
    return "[" + out + "]";
  };
  auto const optional = [](std::optional<double> const& v) { return v ? exact(*v) : std::string{"null"}; };
  std::string out;
  for (auto const& l : of.layers) {
    out += out.empty() ? "" : ",\n";
    out += "{\"layer\":" + std::to_string(l.layer) + ",\"name\":\"" + name_of(l) + "\",\"keeps\":" + std::to_string(l.kept) +
           ",\"cut\":" + optional(l.cut) + ",\"margin\":" + optional(l.margin) +
           ",\"to_settle\":" + optional(l.to_settle && std::isfinite(*l.to_settle) ? l.to_settle : std::nullopt) +
           ",\"mass_dropped\":" + exact(l.mass_dropped) + ",\"traffic_dropped\":" + exact(l.traffic_dropped) +
           ",\"scores\":" + list(l, [](auto const& x) { return exact(x.score); }) +
           ",\"errors\":" + list(l, [](auto const& x) { return significant(x.error, 6); }) +
           ",\"traffic\":" + list(l, [](auto const& x) { return exact(x.traffic); }) +
           ",\"tokens\":" + list(l, [](auto const& x) { return std::to_string(x.tokens); }) +
           ",\"kept\":" + list(l, [](auto const& x) { return std::string{x.kept ? "1" : "0"}; }) + "}";
  }
  return "{\"cut\":" + std::string{of.has_plan ? "true" : "false"} + ",\"layers\":[" + out + "]}";
}

}  // namespace report
