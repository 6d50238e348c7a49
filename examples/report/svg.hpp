// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "html.hpp"

namespace report {

/// A linear axis from values to places in a drawing.
struct axis {
  double low = 0, high = 1;  ///< values
  double from = 0, to = 1;   ///< places

  double operator()(double value) const { return from + (high > low ? (value - low) / (high - low) : 0.0) * (to - from); }
};

/// A round step that gives about `count` marks.
double round_step(double span, int count);

/// A path that collects small rectangles: many cells of one colour are one element.
class cells_path {
 public:
  void add(double x, double y, double width, double height);
  bool empty() const { return d_.empty(); }
  std::string element(std::string_view kind) const;

 private:
  std::string d_;
};

/// What an <svg> says to those who do not see it stands in `label`; more attributes tell the script what lies where.
std::string svg(double width, double height, std::string_view kind, std::string_view label, std::string_view content,
                attributes more = {});
std::string line(double x1, double y1, double x2, double y2, std::string_view kind);
std::string rect(double x, double y, double width, double height, std::string_view kind, std::string_view tip = {});
std::string circle(double x, double y, double radius, std::string_view kind, std::string_view tip = {});
/// `anchor`: start, middle or end.
std::string label(double x, double y, std::string_view anchor, std::string_view text, std::string_view kind = "label");

}  // namespace report
