// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/dtype.hpp>
#include <cull/checkpoint/header_entry.hpp>
#include <cull/checkpoint/header_parser.hpp>
#include <cull/checkpoint/json.hpp>
#include <cull/checkpoint/tensor_info.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// Reads the entries of a header that are beyond doubt, several times as fast as a parser of all JSON, and stops at the first
/// that is not, without judging it: that is `header_parser`'s office, which goes on from there.
class header_scanner {
 public:
  /// `text`: what `json_root` gave, which has looked at brackets and UTF-8.
  header_scanner(std::string_view text, header_contents& out) : text_(text), out_(out) {}

  /// Gives where the rest begins: at the '{' or the ',' before a member, or the end of the text where there is none. What follows
  /// that ',' is a name, so that it may be read as the '{' of an object.
  std::size_t scan() {
    std::size_t rest = 0;
    for (bool more = take('{'); more;) {
      if (!member()) return rest;
      auto const after = at_;
      more = !take('}');
      if (more ? !take(',') || !at('"') : at_ != text_.size()) return rest;
      keep_member();
      rest = more ? after : at_;
    }
    return rest;
  }

 private:
  void space() { at_ = skip_json_space(text_, at_); }
  bool at(char c) {
    space();
    return at_ < text_.size() && text_[at_] == c;
  }
  bool take(char c) {
    if (!at(c)) return false;
    ++at_;
    space();
    return true;
  }

  bool member() {
    place_ = at_;
    if (!string(entry_.info.name) || !take(':')) return false;
    is_metadata_ = entry_.info.name == metadata_name;
    return is_metadata_ ? metadata() : is_plain_name(entry_.info.name) && entry();
  }
  void keep_member() {
    if (is_metadata_) {
      out_.metadata.swap(metadata_);
      out_.has_metadata = true;
    } else {
      out_.tensors.push_back(entry_.info);
      out_.places.push_back(static_cast<std::uint32_t>(place_));
    }
  }
  static bool is_plain_name(std::string const& name) {
    return name.size() <= max_name_bytes && name.find('\0') == std::string::npos;
  }

  /// A string and what stands for it.
  bool string(std::string& to) {
    if (!at('"')) return false;
    auto const begin = at_++;
    bool escapes = false;
    for (; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      if (static_cast<unsigned char>(text_[at_]) < 0x20) return false;
      if (text_[at_] != '\\') continue;
      escapes = true;
      ++at_;
    }
    if (at_ >= text_.size()) return false;
    ++at_;
    if (escapes) return decode(text_.substr(begin, at_ - begin), to);
    to.assign(text_.data() + begin + 1, at_ - begin - 2);
    return true;
  }
  static bool decode(std::string_view literal, std::string& to) {
    auto const value = json::parse(literal, nullptr, false);
    if (!value.is_string()) return false;
    to = value.get_ref<std::string const&>();
    return true;
  }

  bool metadata() {
    if (out_.has_metadata || !take('{')) return false;
    metadata_.clear();
    if (take('}')) return true;
    do {
      std::string key, text;
      if (!string(key) || !is_plain_name(key) || !take(':') || !string(text)) return false;
      if (!metadata_.emplace(std::move(key), std::move(text)).second) return false;
    } while (take(','));
    return take('}');
  }

  /// The three fields, each once, in any order.
  bool entry() {
    entry_.fields = 0;
    if (!take('{')) return false;
    for (int left = 3; left > 0; --left) {
      if (!field() || !take(left > 1 ? ',' : '}')) return false;
    }
    return entry_.fields == 7 && !entry_.problem();
  }
  bool field() {
    if (!string(field_) || !take(':')) return false;
    if (field_ == "dtype") {
      entry_.fields |= 1u;
      if (!string(field_)) return false;
      auto const type = dtype_by_name(field_);
      if (type) entry_.info.type = *type;
      return type.has_value();
    }
    if (!numbers()) return false;
    if (field_ == "shape") {
      entry_.fields |= 2u;
      entry_.info.shape.assign(numbers_.begin(), numbers_.begin() + static_cast<std::ptrdiff_t>(count_));
      return true;
    }
    entry_.fields |= 4u;
    entry_.info.begin = numbers_[0];
    entry_.info.end = numbers_[1];
    return field_ == "data_offsets" && count_ == 2;
  }
  bool numbers() {
    count_ = 0;
    if (!take('[')) return false;
    if (take(']')) return true;
    do {
      if (count_ == numbers_.size() || !number(numbers_[count_++])) return false;
    } while (take(','));
    return take(']');
  }
  /// Digits without a leading zero, below 2^63.
  bool number(std::uint64_t& out) {
    auto const begin = at_;
    std::uint64_t value = 0;
    for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9' && at_ - begin < 19; ++at_)
      value = value * 10 + static_cast<std::uint64_t>(text_[at_] - '0');
    out = value;
    bool const small = value <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    return at_ > begin && small && (text_[begin] != '0' || at_ - begin == 1);
  }

  std::string_view text_;
  header_contents& out_;
  std::size_t at_ = 0, place_ = 0, count_ = 0;
  bool is_metadata_ = false;
  std::map<std::string, std::string> metadata_;
  std::string field_;
  header_entry entry_;
  std::array<std::uint64_t, 64> numbers_{};
};

}  // namespace detail
CULL_NAMESPACE_END
