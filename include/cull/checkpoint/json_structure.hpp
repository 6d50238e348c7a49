// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

constexpr bool is_json_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
/// ASCII that stands for itself in a string.
constexpr bool is_json_plain(char c) { return c >= ' ' && c <= '~' && c != '"' && c != '\\'; }

/// The first place from `at` on that is no JSON white space.
inline std::size_t skip_json_space(std::string_view text, std::size_t at) {
  while (at < text.size() && is_json_space(text[at])) ++at;
  return at;
}

/// Follows brackets and strings of a JSON text, nothing else. Linear, without recursion or allocation.
class json_structure {
 public:
  json_structure(std::string_view text, int most, error_location where, std::uint64_t base)
      : text_(text), most_(most), where_(std::move(where)), base_(base) {}

  /// One past the bracket that closes the one at `at`; the end of the text where none does.
  std::size_t end_of(std::size_t at) {
    for (; at < text_.size(); ++at) {
      char const c = text_[at];
      if (c == '"') {
        at = end_of_string(at);
      } else if (c == '{' || c == '[') {
        if (++depth_ > most_) fail(errc::json_depth, "nested deeper than " + std::to_string(most_), at);
        open_ = (open_ << 1) | (c == '{' ? 1u : 0u);
      } else if (c == '}' || c == ']') {
        if ((open_ & 1u) != (c == '}' ? 1u : 0u)) fail(errc::json_syntax, "a bracket closes another kind of bracket", at);
        open_ >>= 1;
        if (--depth_ == 0) return at + 1;
      }
    }
    return text_.size();
  }

  /// The closing quote of the string that begins at `at`, or the last byte of the text.
  std::size_t end_of_string(std::size_t at) const {
    for (++at; at < text_.size() && text_[at] != '"'; ++at) at += text_[at] == '\\' ? 1u : 0u;
    return at < text_.size() ? at : text_.size() - 1;
  }

 private:
  [[noreturn]] void fail(errc code, std::string const& why, std::size_t at) {
    where_.byte = base_ + at;
    throw error{code, why, where_};
  }

  std::string_view text_;
  int most_;  ///< at most 64, the bits of open_
  error_location where_;
  std::uint64_t base_;
  std::uint64_t open_ = 0;  ///< kinds of the open brackets, the innermost lowest
  int depth_ = 0;
};

/// The JSON value that a text holds, without white space around it, after the checks that common parsers leave out: a byte order
/// mark, what follows the value (NUL too), UTF-8, and nesting, which would take a recursive parser's stack.
/// Bytes in errors count from `base`. Throws `errc::json_syntax`, `json_trailing`, `json_depth`, `bad_utf8`.
inline std::string_view json_root(std::string_view text, int most_depth, error_location const& where, std::uint64_t base = 0) {
  auto const fail = [&](errc code, char const* why, std::size_t at) {
    auto located = where;
    located.byte = base + at;
    throw error{code, why, located};
  };
  if (text.starts_with("\xef\xbb\xbf")) fail(errc::json_syntax, "begins with a byte order mark; remove it", 0);
  auto const begin = skip_json_space(text, 0);
  if (begin == text.size() || (text[begin] != '{' && text[begin] != '['))
    fail(errc::json_syntax, "is no JSON object or list", begin);
  auto const end = json_structure{text, most_depth, where, base}.end_of(begin);
  auto const root = text.substr(begin, end - begin);
  if (auto const bad = find_bad_utf8(root); bad != std::string_view::npos)
    fail(errc::bad_utf8, "a byte that is no UTF-8", begin + bad);
  if (auto const more = skip_json_space(text, end); more < text.size())
    fail(errc::json_trailing, "something follows the JSON text", more);
  return root;
}

}  // namespace detail
CULL_NAMESPACE_END
