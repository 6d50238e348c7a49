// SPDX-License-Identifier: Apache-2.0
#include "svg.hpp"

#include <cmath>

namespace report {

double round_step(double span, int count) {
  double const rough = span / count;
  if (!(rough > 0) || !std::isfinite(rough)) return 1;
  double const power = std::pow(10.0, std::floor(std::log10(rough)));
  for (double const factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) return factor * power;
  }
  return 10 * power;
}

void cells_path::add(double x, double y, double width, double height) {
  d_ += "M" + place(x) + " " + place(y) + "h" + place(width) + "v" + place(height) + "h" + place(-width) + "z";
}
std::string cells_path::element(std::string_view kind) const {
  return d_.empty() ? std::string{} : report::element("path", {{"class", std::string{kind}}, {"d", d_}});
}

std::string svg(double width, double height, std::string_view kind, std::string_view label, std::string_view content,
                attributes more) {
  attributes with{{"class", std::string{kind}},
                  {"viewBox", "0 0 " + place(width) + " " + place(height)},
                  {"role", "img"},
                  {"aria-label", std::string{label}}};
  with.insert(with.end(), more.begin(), more.end());
  return element("svg", with, content);
}

std::string line(double x1, double y1, double x2, double y2, std::string_view kind) {
  return element("line",
                 {{"class", std::string{kind}}, {"x1", place(x1)}, {"y1", place(y1)}, {"x2", place(x2)}, {"y2", place(y2)}});
}

namespace {

std::string with_tip(std::string_view name, attributes const& with, std::string_view tip) {
  return element(name, with, tip.empty() ? std::string{} : element("title", escaped(tip)));
}

}  // namespace

std::string rect(double x, double y, double width, double height, std::string_view kind, std::string_view tip) {
  return with_tip(
      "rect",
      {{"class", std::string{kind}}, {"x", place(x)}, {"y", place(y)}, {"width", place(width)}, {"height", place(height)}}, tip);
}
std::string circle(double x, double y, double radius, std::string_view kind, std::string_view tip) {
  return with_tip("circle", {{"class", std::string{kind}}, {"cx", place(x)}, {"cy", place(y)}, {"r", place(radius)}}, tip);
}
std::string label(double x, double y, std::string_view anchor, std::string_view text, std::string_view kind) {
  return element("text", {{"class", std::string{kind} + " " + std::string{anchor}}, {"x", place(x)}, {"y", place(y)}},
                 escaped(text));
}

}  // namespace report
