// SPDX-License-Identifier: Apache-2.0
// nlohmann/json behind strict checks; for the room's own use, no public signature shows it.
#pragma once

#include <cstddef>
#include <cstring>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

using json = nlohmann::json;

/// Characters that count how far a parser has read, so that SAX events can name their byte.
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
  counted_iterator operator++(int) {
    auto const before = *this;
    ++*this;
    return before;
  }
  friend bool operator==(counted_iterator const& a, counted_iterator const& b) { return a.at_ == b.at_; }
  friend bool operator!=(counted_iterator const& a, counted_iterator const& b) { return a.at_ != b.at_; }

 private:
  char const* at_;
  std::size_t* read_;
};

/// What nlohmann would skip or stop at silently: a byte order mark, NUL.
inline void check_json_bytes(std::string_view text, error_location const& where, std::uint64_t base = 0) {
  auto const located = [&](std::uint64_t byte) {
    auto copy = where;
    copy.byte = base + byte;
    return copy;
  };
  if (text.starts_with("\xef\xbb\xbf")) throw error{errc::bad_json, "begins with a byte order mark; remove it", located(0)};
  if (auto const at = text.find('\0'); at != std::string_view::npos) throw error{errc::bad_json, "holds a NUL byte", located(at)};
}

/// Strict JSON: no byte order mark, comment, NUL, duplicate key, or nesting beyond 64. Throws `errc::bad_json` with the byte.
inline json parse_json(std::string_view text, std::string const& file) {
  check_json_bytes(text, {.file = file});
  std::vector<std::set<std::string>> keys;
  std::size_t read = 0;
  auto const check = [&](int depth, json::parse_event_t event, json& value) {
    auto const fail = [&](std::string const& why) { throw error{errc::bad_json, why, {.file = file, .byte = read}}; };
    if (depth > 64) fail("nested deeper than 64");
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second) {
      fail("key '" + value.get<std::string>() + "' appears twice");
    }
    return true;
  };
  try {
    return json::parse(counted_iterator{text.data(), &read}, counted_iterator{text.data() + text.size(), &read}, check);
  } catch (json::parse_error const& problem) {
    std::string const what = problem.what();
    auto const at = what.find(": ");
    throw error{errc::bad_json,
                "not valid JSON: " + (at == std::string::npos ? what : what.substr(at + 2)),
                {.file = file, .byte = read > 0 ? read - 1 : 0}};
  }
}

}  // namespace detail
CULL_NAMESPACE_END
