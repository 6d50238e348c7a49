// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/json_tree.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// A value of a JSON text: its path (keys and array places from the root) and the bytes it takes.
struct json_span {
  std::vector<std::string> path;
  std::size_t member = 0;  ///< where the member begins: at its key, or at the value in a list
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// Finds the bytes of every value in a text that `parse_json` has accepted, in the order of the text, so that a file can be
/// edited by replacing literals and every other byte stays.
class json_locator {
 public:
  explicit json_locator(std::string_view text) : text_(text) {}

  std::vector<json_span> locate() {
    value(0);
    return std::move(found_);
  }

 private:
  void value(std::size_t member) {
    space();
    auto const index = found_.size();
    found_.push_back({path_, std::min(member, at_), at_, at_});
    if (text_[at_] == '{') {
      object();
    } else if (text_[at_] == '[') {
      array();
    } else if (text_[at_] == '"') {
      string();
    } else {
      at_ = std::min(text_.find_first_of(",]} \t\r\n", at_), text_.size());
    }
    found_[index].end = at_;
  }
  void object() {
    for (next(); text_[at_] != '}'; skip_comma()) {
      auto const begin = at_;
      string();
      path_.push_back(json::parse(text_.substr(begin, at_ - begin)).get<std::string>());
      space();
      next();
      value(begin);
      path_.pop_back();
      space();
    }
    ++at_;
  }
  void array() {
    std::size_t place = 0;
    for (next(); text_[at_] != ']'; skip_comma()) {
      path_.push_back(std::to_string(place++));
      value(at_);
      path_.pop_back();
      space();
    }
    ++at_;
  }
  void string() {
    for (++at_; text_[at_] != '"'; ++at_) at_ += text_[at_] == '\\' ? 1u : 0u;
    ++at_;
  }
  void next() {
    ++at_;
    space();
  }
  void skip_comma() {
    if (text_[at_] == ',') next();
  }
  void space() {
    while (at_ < text_.size() && std::string_view{" \t\r\n"}.find(text_[at_]) != std::string_view::npos) ++at_;
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<std::string> path_;
  std::vector<json_span> found_;
};

/// A replacement of bytes `[begin, end)`.
struct text_edit {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::string text;
};

/// Applies edits; one within what another removes or replaces has no effect. Insertions come before what starts at their place.
inline std::string edited(std::string_view text, std::vector<text_edit> edits) {
  std::stable_sort(edits.begin(), edits.end(), [](auto const& a, auto const& b) {
    auto const rank = [](text_edit const& e) { return e.end == e.begin ? std::size_t{0} : ~e.end; };
    return a.begin != b.begin ? a.begin < b.begin : rank(a) < rank(b);
  });
  std::string out;
  std::size_t at = 0;
  for (auto const& e : edits) {
    if (e.begin < at) continue;
    out.append(text.substr(at, e.begin - at)).append(e.text);
    at = e.end;
  }
  return out.append(text.substr(at));
}

}  // namespace detail
CULL_NAMESPACE_END
