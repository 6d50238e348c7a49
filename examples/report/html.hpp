// SPDX-License-Identifier: Apache-2.0
// Text, elements and numbers of the page; everything written is XML and HTML at once.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace report {

/// Text as it may stand between tags and in attributes.
std::string escaped(std::string_view text);

using attributes = std::vector<std::pair<std::string, std::string>>;

/// <name key="value">content</name>; attribute values are escaped, the content is not.
std::string element(std::string_view name, attributes const& with, std::string_view content = {});
inline std::string element(std::string_view name, std::string_view content) { return element(name, {}, content); }

/// The shortest decimal that reads back as the same double; "null" where it is not finite.
std::string exact(double value);
/// With so many digits behind the point.
std::string fixed(double value, int digits);
/// A place in a drawing: a tenth of a unit is enough.
std::string place(double value);
/// With so many significant digits, for people.
std::string significant(double value, int digits = 4);
/// 12345678 as 12,345,678.
std::string grouped(std::int64_t value);
std::string percent(double share, int digits = 1);
std::string bytes(std::uint64_t count);
std::string count_of(std::int64_t n, std::string_view one, std::string_view many);

/// A table whose columns sort on a click. Cells are HTML; `value` is what is sorted and tested.
struct cell {
  std::string html;
  std::string value = {};  ///< empty: sorted as text
};
cell number_cell(double value, std::string text);
cell number_cell(std::int64_t value);

struct table {
  std::string id;
  std::vector<std::string> heads;
  std::vector<std::vector<cell>> rows = {};
  std::vector<cell> foot = {};
};
std::string to_html(table const& what);

/// A section of the page with a heading and a sentence that says how to read it.
std::string section(std::string_view id, std::string_view title, std::string_view how_to_read, std::string_view content);

/// Swatches and their names.
std::string legend(std::initializer_list<std::pair<std::string_view, std::string_view>> class_and_name);

}  // namespace report
