// SPDX-License-Identifier: Apache-2.0
#include "page.hpp"

#include <array>
#include <string_view>

#include "html.hpp"
#include "report_assets.hpp"
#include "sections.hpp"

namespace report {
namespace {

struct colour {
  std::string_view name, light, dark;
};

// Told apart by people with any of the usual colour-vision deficiencies: Okabe and Ito's colours for kinds, one orange-blue scale
// through a pale (dark: deep) middle for what has a middle, one scale of rising lightness for depth and traffic.
constexpr colour palette[] = {
    {"keep", "#0b6fb3", "#58b1ee"}, {"drop", "#d0651b", "#f0a04b"}, {"never", "#b9b9b9", "#5a5a62"},
    {"rest", "#c9c9c4", "#55555c"}, {"d0", "#a3480a", "#ff9d3d"},   {"d1", "#c2661c", "#e0873a"},
    {"d2", "#d98a43", "#b96f35"},   {"d3", "#ebb37f", "#8f5a32"},   {"d4", "#f5d8ba", "#64462f"},
    {"d5", "#ece9e4", "#3e3e42"},   {"d6", "#cbdfec", "#2f4a5e"},   {"d7", "#9cc4de", "#2f6285"},
    {"d8", "#66a3ca", "#3580b0"},   {"d9", "#2f7fb1", "#479dd6"},   {"d10", "#0a5586", "#72c0f7"},
    {"q0", "#f3efdc", "#26253a"},   {"q1", "#dfe6c8", "#2b2f55"},   {"q2", "#c0dbbb", "#2d4069"},
    {"q3", "#98cbb3", "#2c5674"},   {"q4", "#6db7ae", "#2d6d7a"},   {"q5", "#459ea8", "#36867a"},
    {"q6", "#2d819e", "#5aa272"},   {"q7", "#2a618f", "#93bb66"},   {"q8", "#2b3f78", "#d9d069"},
    {"s0", "#c7d84e", "#414487"},   {"s1", "#93c957", "#3b528b"},   {"s2", "#5fb56b", "#31688e"},
    {"s3", "#3a9f7c", "#297f8e"},   {"s4", "#2b8786", "#22938b"},   {"s5", "#2a6f8a", "#27ad81"},
    {"s6", "#30578a", "#54c568"},   {"s7", "#383f82", "#9bd93c"},   {"s8", "#3a2268", "#fde725"},
    {"c0", "#1a1a1a", "#f2f2f2"},   {"c1", "#0b6fb3", "#58b1ee"},   {"c2", "#d0651b", "#f0a04b"},
    {"c3", "#0a8f6c", "#35c79f"},   {"c4", "#b55a91", "#e39ac6"},   {"c5", "#8a7a00", "#e6d94a"},
    {"c6", "#4b8fc4", "#9fd3f5"},   {"r0", "#0b6fb3", "#58b1ee"},   {"r1", "#0a8f6c", "#35c79f"},
    {"r2", "#d0651b", "#f0a04b"},   {"r3", "#b55a91", "#e39ac6"},   {"r4", "#8a7a00", "#e6d94a"},
    {"r5", "#6a6a6a", "#b5b5b5"},   {"r6", "#4b8fc4", "#9fd3f5"},   {"r7", "#7a3f0a", "#c98a5a"},
    {"r8", "#3f3f8f", "#8f8fe0"},   {"r9", "#c2a3b8", "#7d5f73"},
};

std::string colour_rules() {
  std::string light, dark, uses;
  for (auto const& c : palette) {
    auto const name = std::string{c.name};
    light += "--" + name + ":" + std::string{c.light} + ";";
    dark += "--" + name + ":" + std::string{c.dark} + ";";
    uses += ".fill-" + name + "{fill:var(--" + name + ")}.stroke-" + name + "{stroke:var(--" + name + ")}.bg-" + name +
            ",.swatch." + name + "{background:var(--" + name + ")}\n";
  }
  return ":root{" + light + "}\n@media (prefers-color-scheme:dark){:root{" + dark + "}}\n" + uses;
}

std::string navigation(std::string const& body) {
  std::string out;
  constexpr std::array<std::array<std::string_view, 2>, 9> all{{{"cut", "cut"},
                                                                {"curves", "curves"},
                                                                {"heat", "heat maps"},
                                                                {"doubt", "ties"},
                                                                {"overlap", "overlap"},
                                                                {"quality", "quality"},
                                                                {"bytes", "bytes"},
                                                                {"serving", "serving"},
                                                                {"made", "how made"}}};
  for (auto const& [id, name] : all) {
    if (body.find("<section id=\"" + std::string{id} + "\">") == std::string::npos) continue;
    out += element("a", {{"href", "#" + std::string{id}}}, name);
  }
  return element("nav", out);
}

std::string script(std::string_view text) { return "<script>//<![CDATA[\n" + std::string{text} + "//]]></script>\n"; }

}  // namespace

std::string to_html(figures const& of) {
  std::string body;
  for (auto const part : {summary_section, cut_section, curves_section, heat_section, doubt_section, overlap_section,
                          quality_section, ledger_section, serving_section, provenance_section}) {
    body += part(of);
  }
  auto const title = escaped(of.title);
  std::string out = "<!DOCTYPE html>\n<html xmlns=\"http://www.w3.org/1999/xhtml\" lang=\"en\"><head><meta charset=\"utf-8\"/>\n";
  out +=
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/><meta name=\"color-scheme\" content=\"light "
      "dark\"/>\n";
  out += element("title", title + " · cull report") + "\n" + element("style", std::string{assets::style_css} + colour_rules()) +
         "</head>\n<body>\n";
  out += element("header", element("p", {{"class", "kicker"}}, "cull report") + element("h1", title)) + navigation(body);
  out += element("main", body) + element("div", {{"id", "tip"}, {"role", "status"}}) + "\n";
  out += element("script", {{"type", "application/json"}, {"id", "data"}}, data_json(of)) + "\n";
  return out + script(assets::script_js) + "</body></html>\n";
}

}  // namespace report
