// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "html.hpp"
#include "measure_names.hpp"
#include "sections.hpp"
#include "svg.hpp"

namespace report {
namespace {

/// One row of a dot plot: the same figure of every model.
struct dot_row {
  std::string name;
  std::vector<std::optional<rate>> values;
};

/// The value of every model under that name.
void put(std::vector<dot_row>& rows, std::string const& name, std::size_t model, std::size_t models, rate const& value) {
  auto row = std::find_if(rows.begin(), rows.end(), [&](auto const& r) { return r.name == name; });
  if (row == rows.end()) row = rows.insert(rows.end(), dot_row{name, std::vector<std::optional<rate>>(models)});
  row->values[model] = value;
}

/// Of one measure: a row per domain (or position, or number of drafts).
std::vector<dot_row> group_rows(figures const& of, std::string const& measure) {
  std::vector<dot_row> out;
  for (std::size_t m = 0; m < of.models.size(); ++m) {
    for (auto const& [key, group] : of.models[m].groups) {
      if (key != measure) continue;
      for (auto const& [name, value] : group) put(out, name, m, of.models.size(), value);
    }
  }
  return out;
}

std::vector<dot_row> rate_rows(figures const& of) {
  std::vector<dot_row> out;
  for (std::size_t m = 0; m < of.models.size(); ++m) {
    for (auto const& [key, value] : of.models[m].rates) put(out, key, m, of.models.size(), value);
  }
  return out;
}

std::string text_of(rate const& r, bool share) {
  auto const one = [&](double v) { return share ? percent(v, 2) : fixed(v, 4); };
  return one(r.value) + (r.low && r.high ? " (" + one(*r.low) + " to " + one(*r.high) + ")" : "");
}

/// What fits beside a row; the whole name shows on the dots.
std::string short_name(std::string const& key) {
  if (key == "mtp_agreement") return "MTP agrees";
  if (key == "answer_correct") return "correct";
  if (key == "looped") return "loops";
  if (key == "top1") return "same token";
  return key;
}

/// Dots told apart by colour and by height in the row.
std::string dots(figures const& of, std::string const& title, std::vector<dot_row> const& rows, bool share) {
  double high = 0;
  for (auto const& row : rows) {
    for (auto const& v : row.values) high = v ? std::max(high, v->high.value_or(v->value)) : high;
  }
  high = share ? 1 : std::max(high * 1.05, 1e-9);
  double const step = 7, h = 18 + step * static_cast<double>(of.models.size()), top = 8;
  double const end = top + h * static_cast<double>(rows.size());
  axis const x{0, high, 130, 404};
  std::string drawn;
  double const mark = round_step(high, 5);
  for (double v = 0; v <= high * 1.0001; v += mark) {
    drawn += line(x(v), top, x(v), end, "grid") +
             label(x(v), end + 15, "middle", share ? significant(100 * v, 3) + " %" : significant(v, 3));
  }
  for (std::size_t r = 0; r < rows.size(); ++r) {
    double const middle = top + h * (static_cast<double>(r) + 0.5);
    drawn += label(122, middle + 4, "end", short_name(rows[r].name)) +
             line(x.from, top + h * static_cast<double>(r), x.to, top + h * static_cast<double>(r), "grid");
    for (std::size_t m = 0; m < rows[r].values.size(); ++m) {
      auto const& v = rows[r].values[m];
      if (!v) continue;
      auto const kind = "c" + std::to_string(m % 7);
      double const y = middle + step * (static_cast<double>(m) - static_cast<double>(of.models.size() - 1) / 2);
      if (v->low && v->high) drawn += line(x(*v->low), y, x(*v->high), y, "whisker stroke-" + kind);
      drawn += circle(x(v->value), y, 4.5, "point fill-" + kind,
                      of.models[m].name + ", " + measure_name(rows[r].name) + ": " + text_of(*v, share));
    }
  }
  return element("figure", element("h3", escaped(title)) + svg(420, end + 24, "chart", title, drawn));
}

/// `measure`: of a group's rows; empty for rows that are measures themselves.
void add_rows(table& to, std::string const& measure, std::vector<dot_row> const& rows) {
  for (auto const& row : rows) {
    auto const name = measure.empty() ? measure_name(row.name) : measure_name(measure) + ", " + row.name;
    std::vector<cell> cells{{escaped(name), measure.empty() ? row.name : measure + ", " + row.name}};
    bool const share = is_share(measure.empty() ? row.name : measure);
    for (auto const& v : row.values) cells.push_back(v ? number_cell(v->value, text_of(*v, share)) : cell{"–", "null"});
    to.rows.push_back(std::move(cells));
  }
}

}  // namespace

std::string quality_section(figures const& of) {
  if (of.models.empty()) return {};
  std::string names, charts;
  table all{"quality-table", {""}};
  for (std::size_t m = 0; m < of.models.size(); ++m) {
    names += element("span", element("i", {{"class", "swatch c" + std::to_string(m % 7)}}) + escaped(of.models[m].name));
    all.heads.push_back(escaped(of.models[m].name));
  }
  std::vector<std::string> measures;
  for (auto const& model : of.models) {
    for (auto const& [key, group] : model.groups) {
      if (std::find(measures.begin(), measures.end(), key) == measures.end()) measures.push_back(key);
    }
  }
  for (auto const& key : measures) {
    auto const rows = group_rows(of, key);
    charts += dots(of, measure_name(key), rows, is_share(key));
    add_rows(all, key, rows);
  }
  auto const rates = rate_rows(of);
  std::vector<dot_row> shares;
  std::copy_if(rates.begin(), rates.end(), std::back_inserter(shares), [](auto const& row) { return is_share(row.name); });
  if (!shares.empty()) charts += dots(of, "Shares", shares, true);
  add_rows(all, "", rates);
  return section("quality", "Quality before and after",
                 "Held-out texts by domain, and prompts answered by greedy decoding; whiskers are 95 % intervals.",
                 element("p", {{"class", "legend"}}, names) + element("div", {{"class", "pair"}}, charts) + to_html(all));
}

}  // namespace report
