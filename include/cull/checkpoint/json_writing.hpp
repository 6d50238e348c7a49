// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include <cull/checkpoint/json.hpp>
#include <cull/checkpoint/json_structure.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// Whether characters beyond ASCII are written as escapes.
enum class json_ascii { no, yes };

/// A text as JSON, with its quotes. Names are plain as a rule and need no escapes.
inline void append_json_string(std::string& to, std::string_view text, json_ascii ascii = json_ascii::no) {
  if (std::all_of(text.begin(), text.end(), is_json_plain))
    to.append("\"").append(text).append("\"");
  else
    to.append(json(text).dump(-1, ' ', ascii == json_ascii::yes));
}

inline std::string json_string(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

inline void append_number(std::string& to, std::uint64_t number) {
  char digits[20];
  auto const [end, code] = std::to_chars(digits, digits + sizeof digits, number);
  to.append(digits, end);
}

/// Whole numbers or texts as a JSON list.
template <class List>
std::string json_list(List const& values) {
  std::string out = "[";
  for (auto const& value : values) {
    if (out.size() > 1) out += ',';
    if constexpr (std::is_integral_v<std::remove_cvref_t<decltype(value)>>)
      out += std::to_string(value);
    else
      append_json_string(out, value);
  }
  return out + "]";
}

/// The text of an object without the member of that name, found by brackets alone; that of anything else as it is.
inline std::string without_member(std::string_view text, std::string_view name) {
  auto const space = [&](std::size_t at) { return skip_json_space(text, at); };
  auto const begin = space(0);
  if (begin == text.size() || text[begin] != '{') return std::string{text};
  auto before = begin + 1;  // where the member and the comma before it begin
  for (auto at = space(before); at < text.size() && text[at] == '"';) {
    json_structure structure{text, json_depth_limit, {}, 0};
    auto const key_end = structure.end_of_string(at) + 1;
    auto const value = space(std::min(space(key_end) + 1, text.size()));
    bool const nested = value < text.size() && (text[value] == '{' || text[value] == '[');
    auto const end = nested                                      ? structure.end_of(value)
                     : value < text.size() && text[value] == '"' ? structure.end_of_string(value) + 1
                                                                 : std::min(text.find_first_of(",}", value), text.size());
    auto const next = space(end);
    bool const more = next < text.size() && text[next] == ',';
    if (text.substr(at + 1, key_end - at - 2) == name) {
      bool const first = before == begin + 1;
      return std::string{text.substr(0, before)}.append(text.substr(first && more ? next + 1 : end));
    }
    if (!more) break;
    before = next;
    at = space(next + 1);
  }
  return std::string{text};
}

}  // namespace detail
CULL_NAMESPACE_END
