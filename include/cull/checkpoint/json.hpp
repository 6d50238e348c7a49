// SPDX-License-Identifier: Apache-2.0
// nlohmann/json behind strict checks; for the room's own use, no public signature shows it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <cull/checkpoint/json_structure.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

using json = nlohmann::json;

/// Characters that count how far a parser has read, so that its events can name their byte.
class counted_iterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = char const*;
  using reference = char const&;

  counted_iterator(char const* at, std::size_t* read) : at_(at), read_(read) {}
  char const& operator*() const { return *at_; }
  counted_iterator& operator++() {
    ++at_;
    ++*read_;
    return *this;
  }
  friend bool operator==(counted_iterator const& a, counted_iterator const& b) { return a.at_ == b.at_; }
  friend bool operator!=(counted_iterator const& a, counted_iterator const& b) { return a.at_ != b.at_; }

 private:
  char const* at_;
  std::size_t* read_;
};

/// The reason in the parser's message, without its own account of the place.
inline std::string json_reason(nlohmann::detail::exception const& problem) {
  std::string_view const what = problem.what();
  auto const at = what.find(": ");
  return "not valid JSON: " + printable(at == std::string_view::npos ? what : what.substr(at + 2), 200);
}

/// Most levels of nesting in a JSON file (config, index, plan), and in a safetensors header.
inline constexpr int json_depth_limit = 64;
inline constexpr int header_depth_limit = 8;

/// A JSON file as a tree. Strict: no byte order mark, comment, NUL, duplicate key, or nesting beyond 64.
/// Throws `errc::json_syntax`, `json_trailing`, `json_depth`, `bad_utf8`, `duplicate_key`, with the byte.
inline json parse_json(std::string_view whole, std::string const& file) {
  auto const text = json_root(whole, json_depth_limit, {.file = file});
  auto const base = static_cast<std::size_t>(text.data() - whole.data());
  std::vector<std::set<std::string>> keys;
  std::size_t read = 0;
  auto const check = [&](int, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second) {
      throw error{errc::duplicate_key,
                  "key '" + printable(value.get<std::string>()) + "' appears twice",
                  {.file = file, .byte = base + read - 1}};
    }
    return true;
  };
  try {
    return json::parse(counted_iterator{text.data(), &read}, counted_iterator{text.data() + text.size(), &read}, check);
  } catch (json::exception const& problem) {
    throw error{errc::json_syntax, json_reason(problem), {.file = file, .byte = base + (read > 0 ? read - 1 : 0)}};
  }
}

}  // namespace detail
CULL_NAMESPACE_END
