// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "html.hpp"
#include "sections.hpp"
#include "svg.hpp"

namespace report {
namespace {

std::string bar(figures const& of, double y, double scale, std::string_view name, bool after) {
  double x = 70;
  std::string out = label(x - 8, y + 19, "end", name, "label name");
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < of.ledger.size(); ++i) {
    auto const count = after ? of.ledger[i].after.value_or(0) : of.ledger[i].before;
    double const wide = static_cast<double>(count) * scale;
    total += count;
    if (count > 0)
      out += rect(x, y, std::max(0.6, wide), 28, "part fill-r" + std::to_string(i % 10), of.ledger[i].role + ": " + bytes(count));
    x += wide;
  }
  return out + label(x + 6, y + 19, "start", bytes(total));
}

std::string bars(figures const& of, bool cut) {
  std::uint64_t before = 0;
  for (auto const& row : of.ledger) before += row.before;
  double const scale = 660 / std::max(1.0, static_cast<double>(before));
  auto drawn = bar(of, 4, scale, "before", false);
  if (cut) drawn += bar(of, 42, scale, "after", true);
  std::string names;
  for (std::size_t i = 0; i < of.ledger.size(); ++i)
    names += element("span", element("i", {{"class", "swatch r" + std::to_string(i % 10)}}) + escaped(of.ledger[i].role));
  return element("div", {{"class", "scroll"}}, svg(820, cut ? 76 : 38, "wide", "Bytes by role", drawn)) +
         element("p", {{"class", "legend"}}, names);
}

/// A sign and a word: not by colour alone.
std::string verdict_mark(verdict v) {
  if (v == verdict::good) return element("span", {{"class", "verdict good"}}, "✓ good");
  return v == verdict::note ? element("span", {{"class", "verdict note"}}, "! note")
                            : element("span", {{"class", "verdict bad"}}, "✗ fails");
}

}  // namespace

std::string ledger_section(figures const& of) {
  if (of.ledger.empty()) return {};
  bool const cut = of.ledger[0].after.has_value();
  table out{"ledger-table", {"role", "bytes before"}};
  if (cut) out.heads.insert(out.heads.end(), {"bytes after", "change"});
  std::int64_t before = 0, after = 0;
  auto const add = [&](std::string const& name, std::int64_t b, std::int64_t a) {
    std::vector<cell> row{{escaped(name), name}, number_cell(b)};
    if (cut) {
      row.push_back(number_cell(a));
      double const change = b > 0 ? static_cast<double>(a) / static_cast<double>(b) - 1 : 0;
      row.push_back(number_cell(change, a == b ? "–" : fixed(100 * change, 1) + " %"));
    }
    return row;
  };
  for (auto const& row : of.ledger) {
    auto const b = static_cast<std::int64_t>(row.before), a = static_cast<std::int64_t>(row.after.value_or(0));
    out.rows.push_back(add(row.role, b, a));
    before += b;
    after += a;
  }
  out.foot = add("all tensors", before, after);
  return section("bytes", "Bytes", "Of tensors, by role, computed from headers; what apply writes has this size to the byte.",
                 bars(of, cut) + to_html(out));
}

std::string serving_section(figures const& of) {
  if (of.checks.empty()) return {};
  table out{"serving-table", {"", "check", "found", "what it means"}};
  for (auto const& c : of.checks) {
    out.rows.push_back({{verdict_mark(c.result), std::to_string(static_cast<int>(c.result))},
                        {escaped(c.what)},
                        {escaped(c.found)},
                        {escaped(c.means)}});
  }
  return section("serving", "Serving checks", "", to_html(out));
}

std::string provenance_section(figures const& of) {
  table out{"files", {"file", "kind", "XXH128"}};
  for (auto const& f : of.files) out.rows.push_back({{escaped(f.path)}, {f.kind}, {element("code", f.digest)}});
  auto command = of.command.empty() ? std::string{} : element("pre", element("code", escaped(of.command)));
  return section(
      "made", "How this page was made", "",
      command + (of.files.empty() ? "" : to_html(out)) + element("p", {{"class", "how"}}, "cull " + escaped(of.version)));
}

}  // namespace report
