// SPDX-License-Identifier: Apache-2.0
// nlohmann/json behind strict checks; for the room's own use, no public signature shows it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

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

}  // namespace detail
CULL_NAMESPACE_END
