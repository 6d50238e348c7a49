// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include <cull/checkpoint/json_structure.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// The little of JSON that writers of checkpoints use: ASCII strings without escapes, unsigned integers, white space between.
/// A step gives false where the text is anything else, right or wrong: that is for the strict parser to tell. Large headers and
/// indexes are read several times as fast this way.
class plain_json {
 public:
  explicit plain_json(std::string_view text) : text_(text) {}

  /// Where reading goes on: after `next_is`, at the first character that is no white space.
  std::size_t place() const { return at_; }
  void go_to(std::size_t place) { at_ = place; }

  bool next_is(char wanted) {
    at_ = skip_json_space(text_, at_);
    return at_ < text_.size() && text_[at_] == wanted;
  }
  bool take(char wanted) {
    bool const there = next_is(wanted);
    at_ += there ? 1 : 0;
    return there;
  }
  bool string(std::string_view& out) {
    if (!take('"')) return false;
    auto const begin = at_;
    while (at_ < text_.size() && is_json_plain(text_[at_])) ++at_;
    if (at_ == text_.size() || text_[at_] != '"') return false;
    out = text_.substr(begin, at_ - begin);
    ++at_;
    return true;
  }
  /// Any string, as it is spelled, with its quotes.
  bool literal(std::string_view& out) {
    auto const begin = next_is('"') ? at_ : text_.size();
    for (at_ = begin + 1; at_ < text_.size() && text_[at_] != '"'; ++at_) at_ += text_[at_] == '\\' ? 1 : 0;
    if (at_ >= text_.size()) return false;
    ++at_;
    out = text_.substr(begin, at_ - begin);
    return true;
  }
  /// Below 10^18, in its one spelling.
  bool number(std::uint64_t& out) {
    at_ = skip_json_space(text_, at_);
    auto const begin = at_;
    out = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9' && at_ - begin < 19; ++at_)
      out = out * 10 + static_cast<std::uint64_t>(text_[at_] - '0');
    auto const digits = at_ - begin;
    return digits > 0 && digits < 19 && (digits == 1 || text_[begin] != '0');
  }
  /// True where only white space follows.
  bool at_end() const { return skip_json_space(text_, at_) == text_.size(); }

  /// An object: `member(key)` reads each value.
  template <class Member>
  bool object(Member&& member) {
    if (!take('{')) return false;
    if (take('}')) return true;
    do {
      std::string_view key;
      if (!string(key) || !take(':') || !member(key)) return false;
    } while (take(','));
    return take('}');
  }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace detail
CULL_NAMESPACE_END
