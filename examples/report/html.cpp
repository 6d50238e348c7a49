// SPDX-License-Identifier: Apache-2.0
#include "html.hpp"

#include <charconv>
#include <cmath>
#include <cstdio>

namespace report {

std::string escaped(std::string_view text) {
  std::string out;
  for (char const c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        // Control characters may not stand in XML at all.
        if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t') out += c;
    }
  }
  return out;
}

std::string element(std::string_view name, attributes const& with, std::string_view content) {
  std::string out = "<" + std::string{name};
  for (auto const& [key, value] : with) out += " " + key + "=\"" + escaped(value) + "\"";
  out += ">";
  out += content;
  return out + "</" + std::string{name} + ">";
}

std::string exact(double value) {
  if (!std::isfinite(value)) return "null";
  char text[32];
  auto const end = std::to_chars(text, text + sizeof text, value).ptr;
  return {text, end};
}

std::string fixed(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string place(double value) {
  auto out = fixed(value, 1);
  if (out.ends_with(".0")) out.resize(out.size() - 2);
  return out == "-0" ? "0" : out;
}

std::string significant(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*g", digits, value);
  return text;
}

std::string grouped(std::int64_t value) {
  auto out = std::to_string(value);
  for (auto at = static_cast<std::ptrdiff_t>(out.size()) - 3; at > (value < 0 ? 1 : 0); at -= 3) {
    out.insert(static_cast<std::size_t>(at), ",");
  }
  return out;
}

std::string percent(double share, int digits) { return std::isfinite(share) ? fixed(100 * share, digits) + " %" : "–"; }

std::string bytes(std::uint64_t count) {
  auto const value = static_cast<double>(count);
  if (count >= 1'000'000'000) return fixed(value / 1e9, 2) + " GB";
  if (count >= 1'000'000) return fixed(value / 1e6, 2) + " MB";
  return count >= 1'000 ? fixed(value / 1e3, 1) + " kB" : std::to_string(count) + " B";
}

std::string count_of(std::int64_t n, std::string_view one, std::string_view many) {
  return grouped(n) + " " + std::string{n == 1 ? one : many};
}

cell number_cell(double value, std::string text) { return {std::move(text), exact(value)}; }
cell number_cell(std::int64_t value) { return {grouped(value), std::to_string(value)}; }

std::string to_html(table const& what) {
  std::string head, body, foot;
  for (auto const& name : what.heads) {
    head += element("th", {{"scope", "col"}}, element("button", {{"type", "button"}}, name));
  }
  auto const row_of = [](std::vector<cell> const& cells) {
    std::string row;
    for (auto const& c : cells) row += element("td", c.value.empty() ? attributes{} : attributes{{"data-v", c.value}}, c.html);
    return element("tr", row);
  };
  for (auto const& row : what.rows) body += row_of(row) + "\n";
  if (!what.foot.empty()) foot = element("tfoot", row_of(what.foot));
  auto const inside = element("thead", element("tr", head)) + element("tbody", body) + foot;
  return element("div", {{"class", "scroll"}}, element("table", {{"id", what.id}, {"class", "sortable"}}, inside));
}

std::string section(std::string_view id, std::string_view title, std::string_view how_to_read, std::string_view content) {
  auto out = element("h2", title);
  if (!how_to_read.empty()) out += element("p", {{"class", "how"}}, how_to_read);
  return element("section", {{"id", std::string{id}}}, out + std::string{content}) + "\n";
}

std::string legend(std::initializer_list<std::pair<std::string_view, std::string_view>> class_and_name) {
  std::string out;
  for (auto const& [kind, name] : class_and_name) {
    out += element("span", element("i", {{"class", "swatch " + std::string{kind}}}) + std::string{name});
  }
  return element("p", {{"class", "legend"}}, out);
}

}  // namespace report
