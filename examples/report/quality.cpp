// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "html.hpp"
#include "sections.hpp"
#include "svg.hpp"

namespace report {
namespace {

/// One row of a dot plot: the same figure of every model.
struct dot_row {
  std::string name;
  std::vector<std::optional<rate>> values;
};

std::string title_of(std::string key) {
  if (key == "nats") return "Nats per token (lower is better)";
  if (key == "kl") return "KL divergence from the first model";
  if (key == "top1") return "top-1 agreement with the first";
  if (key == "acceptance_length") return "Acceptance length by drafts";
  if (key == "looped") return "prompts that loop";
  if (key == "mtp_agreement") return "MTP agreement";
  if (key == "terminated") return "prompts terminated";
  if (key == "answer_correct") return "answers correct";
  std::replace(key.begin(), key.end(), '_', ' ');
  return key;
}

/// By domain: one group of rows per measure.
std::vector<dot_row> domain_rows(figures const& of, std::string const& measure) {
  std::vector<dot_row> out;
  for (std::size_t m = 0; m < of.models.size(); ++m) {
    for (auto const& [key, domains] : of.models[m].by_domain) {
      if (key != measure) continue;
      for (auto const& [domain, value] : domains) {
        auto row = std::find_if(out.begin(), out.end(), [&, d = domain](auto const& r) { return r.name == d; });
        if (row == out.end()) row = out.insert(out.end(), dot_row{domain, std::vector<std::optional<rate>>(of.models.size())});
        row->values[m] = value;
      }
    }
  }
  return out;
}

std::vector<dot_row> rate_rows(figures const& of) {
  std::vector<dot_row> out;
  for (std::size_t m = 0; m < of.models.size(); ++m) {
    for (auto const& [key, value] : of.models[m].rates) {
      auto row = std::find_if(out.begin(), out.end(), [&, k = key](auto const& r) { return r.name == k; });
      if (row == out.end()) row = out.insert(out.end(), dot_row{key, std::vector<std::optional<rate>>(of.models.size())});
      row->values[m] = value;
    }
  }
  return out;
}

/// KL and lengths may lie below 1 and are no shares.
bool is_share(dot_row const& row) {
  if (row.name == "kl" || row.name.ends_with("tokens")) return false;
  return std::all_of(row.values.begin(), row.values.end(), [](auto const& v) { return !v || (v->value >= 0 && v->value <= 1); });
}

std::string text_of(rate const& r, bool share) {
  auto const one = [&](double v) { return share ? percent(v, 2) : fixed(v, 4); };
  return one(r.value) + (r.low && r.high ? " (" + one(*r.low) + " to " + one(*r.high) + ")" : "");
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
    drawn += label(122, middle + 4, "end", title_of(rows[r].name)) +
             line(x.from, top + h * static_cast<double>(r), x.to, top + h * static_cast<double>(r), "grid");
    for (std::size_t m = 0; m < rows[r].values.size(); ++m) {
      auto const& v = rows[r].values[m];
      if (!v) continue;
      auto const kind = "c" + std::to_string(m % 7);
      double const y = middle + step * (static_cast<double>(m) - static_cast<double>(of.models.size() - 1) / 2);
      if (v->low && v->high) drawn += line(x(*v->low), y, x(*v->high), y, "whisker stroke-" + kind);
      drawn += circle(x(v->value), y, 4.5, "point fill-" + kind,
                      of.models[m].name + ", " + title_of(rows[r].name) + ": " + text_of(*v, share));
    }
  }
  return element("figure", element("h3", title) + svg(420, end + 24, "chart", title, drawn));
}

void add_rows(table& to, std::string const& prefix, std::vector<dot_row> const& rows) {
  for (auto const& row : rows) {
    bool const share = prefix.empty() && is_share(row);
    std::vector<cell> cells{{escaped(prefix + (prefix.empty() ? title_of(row.name) : row.name)), prefix + row.name}};
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
    for (auto const& [key, domains] : model.by_domain) {
      if (std::find(measures.begin(), measures.end(), key) == measures.end()) measures.push_back(key);
    }
  }
  for (auto const& key : measures) {
    auto const rows = domain_rows(of, key);
    if (key != "predicted" && key != "tokens") charts += dots(of, title_of(key), rows, false);
    add_rows(all, title_of(key) + ", ", rows);
  }
  auto const rates = rate_rows(of);
  std::vector<dot_row> shares;
  std::copy_if(rates.begin(), rates.end(), std::back_inserter(shares), is_share);
  if (!shares.empty()) charts += dots(of, "Shares", shares, true);
  add_rows(all, "", rates);
  return section("quality", "Quality before and after", "Held-out texts by domain, and prompts answered by greedy decoding.",
                 element("p", {{"class", "legend"}}, names) + element("div", {{"class", "pair"}}, charts) + to_html(all));
}

}  // namespace report
