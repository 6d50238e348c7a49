// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <cull/checkpoint/json.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// "a/b" as a step of an RFC 6901 pointer.
inline std::string pointer_step(std::string_view key) {
  std::string out = "/";
  for (char const c : key) {
    if (c == '~') {
      out += "~0";
    } else if (c == '/') {
      out += "~1";
    } else {
      out += c;
    }
  }
  return out;
}

/// What readers of large JSON texts share: one pass over events, errors with the first byte of the token that they blame.
class json_events : public nlohmann::json_sax<json> {
 public:
  /// `base`: where `text`, a value that `json_root` gave, begins in the file.
  json_events(std::string_view text, std::string const& file, std::uint64_t base) : text_(text), file_(file), base_(base) {}

  void run() {
    json::sax_parse(counted_iterator{text_.data(), &read_}, counted_iterator{text_.data() + text_.size(), &read_}, this);
  }

  bool parse_error(std::size_t, std::string const&, nlohmann::detail::exception const& problem) override {
    auto const at = read_ > 0 ? read_ - 1 : 0;
    auto const literal = token_at(at);
    bool const string = at < text_.size() && text_[at] == '"' && !opens_last_string(at);
    auto const begin = string ? token_begin() : literal.empty() ? at : static_cast<std::size_t>(literal.data() - text_.data());
    if (in_numbers() && is_odd_number(literal)) {
      // Of "04" the parser has told the 0 already.
      if (literal[0] == '0') forget_number();
      fail_at(begin, errc::bad_integer, "'" + printable(literal, 60) + "' is not an integer without sign");
    }
    fail_at(begin, errc::json_syntax, json_reason(problem));
  }
  bool binary(json::binary_t&) override { fail(errc::json_syntax, "binary data"); }

 protected:
  /// Where the reader stands, for messages.
  virtual std::string pointer() const = 0;
  virtual std::string tensor() const = 0;
  /// True in a list that may only hold integers.
  virtual bool in_numbers() const { return false; }
  /// Takes back the number that was told last.
  virtual void forget_number() {}

  /// The parser has read one character past a number when it tells of it.
  enum class token { number, other };

  [[noreturn]] void fail(errc code, std::string const& why, token kind = token::other) const {
    fail_at(token_begin(kind), code, why);
  }
  /// An integer literal beyond 2^64, or something else that is no integer.
  [[noreturn]] void refuse_number(std::string const& literal) const {
    bool const digits = literal.find_first_not_of("0123456789") == std::string::npos;
    if (digits) fail(errc::integer_range, printable(literal, 60) + " is beyond 2^63 - 1", token::number);
    fail(errc::bad_integer, "'" + printable(literal, 60) + "' is not an integer without sign", token::number);
  }
  /// First byte of the token that was read last.
  std::size_t token_begin(token kind = token::other) const {
    if (read_ == 0) return 0;
    auto at = read_ - 1;
    if (kind == token::number && !is_number_char(text_[at]) && at > 0) --at;
    if (kind == token::other && text_[at] == '"') {
      while (at > 0 && !(text_[--at] == '"' && backslashes_before(at) % 2 == 0)) continue;
      return at;
    }
    while (at > 0 && is_number_char(text_[at]) && is_number_char(text_[at - 1])) --at;
    return at;
  }

 private:
  [[noreturn]] void fail_at(std::size_t at, errc code, std::string const& why) const {
    throw error{code, why, {.file = file_, .tensor = tensor(), .byte = base_ + at, .json_pointer = pointer()}};
  }
  static bool is_number_char(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '+' || c == '-' || c == '.';
  }
  /// A literal such as 02, NaN or 1e999 that JSON does not have.
  static bool is_odd_number(std::string_view token) {
    bool const plain = token.find_first_not_of("0123456789") == std::string_view::npos && !(token.size() > 1 && token[0] == '0');
    return !token.empty() && !plain;
  }
  /// True where the text ends with the quote at `at`, and no string with it.
  bool opens_last_string(std::size_t at) const {
    if (at + 1 < text_.size()) return false;
    bool inside = false;
    for (std::size_t i = 0; i < at; ++i) {
      if (inside && text_[i] == '\\')
        ++i;
      else if (text_[i] == '"')
        inside = !inside;
    }
    return !inside;
  }
  std::string_view token_at(std::size_t at) const {
    auto begin = at, end = at;
    while (begin > 0 && is_number_char(text_[begin - 1])) --begin;
    while (end < text_.size() && is_number_char(text_[end])) ++end;
    return text_.substr(begin, end - begin);
  }
  std::size_t backslashes_before(std::size_t at) const {
    std::size_t count = 0;
    while (count < at && text_[at - 1 - count] == '\\') ++count;
    return count;
  }

  std::string_view text_;
  std::string const& file_;
  std::uint64_t base_;
  std::size_t read_ = 0;
};

}  // namespace detail
CULL_NAMESPACE_END
