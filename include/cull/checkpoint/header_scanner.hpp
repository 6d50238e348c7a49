// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include <cull/checkpoint/dtype.hpp>
#include <cull/checkpoint/header_entry.hpp>
#include <cull/checkpoint/header_parser.hpp>
#include <cull/checkpoint/json.hpp>
#include <cull/checkpoint/plain_json.hpp>
#include <cull/checkpoint/tensor_info.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// Reads the entries of a header that are beyond doubt and plainly spelled, several times as fast as a parser of all JSON, and
/// stops at the first that is not, without judging it: that is `header_parser`'s office, which goes on from there.
class header_scanner {
 public:
  /// `text`: what `json_root` gave, which has looked at brackets and UTF-8.
  header_scanner(std::string_view text, header_contents& out) : text_(text), in_(text), out_(out) {}

  /// Gives where the rest begins: at the '{' or the ',' before a member, or the end of the text where there is none. What follows
  /// that ',' is a name, so that it may be read as the '{' of an object.
  std::size_t scan() {
    std::size_t rest = 0;
    for (bool open = in_.take('{'); open && member();) {
      bool const last = in_.take('}');
      auto const comma = in_.place();
      if (last ? !in_.at_end() : !in_.take(',') || !in_.next_is('"')) break;
      keep_member();
      if (last) return text_.size();
      rest = comma;
    }
    return rest;
  }

 private:
  bool member() {
    in_.next_is('"');
    place_ = in_.place();
    std::string_view name;
    if (!in_.string(name) || name.size() > max_name_bytes || !in_.take(':')) return false;
    is_metadata_ = name == metadata_name;
    if (is_metadata_) return metadata();
    entry_.info.name = name;
    return entry();
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

  bool metadata() {
    if (out_.has_metadata) return false;
    metadata_.clear();
    return in_.object([&](std::string_view key) {
      std::string value;
      return key.size() <= max_name_bytes && text(value) && metadata_.emplace(key, std::move(value)).second;
    });
  }
  /// Escapes too: programs put JSON there.
  bool text(std::string& to) {
    std::string_view plain;
    in_.next_is('"');
    auto const begin = in_.place();
    if (in_.string(plain)) {
      to = plain;
      return true;
    }
    in_.go_to(begin);
    if (!in_.literal(plain)) return false;
    auto const value = json::parse(plain, nullptr, false);
    if (!value.is_string()) return false;
    to = value.get_ref<std::string const&>();
    return true;
  }

  /// The three fields, each once, in any order.
  bool entry() {
    entry_.fields = 0;
    return in_.object([&](std::string_view key) { return field(key); }) && !entry_.problem();
  }
  bool field(std::string_view key) {
    unsigned const bit = key == "dtype" ? 1u : key == "shape" ? 2u : key == "data_offsets" ? 4u : 0u;
    if (bit == 0 || (entry_.fields & bit) != 0) return false;
    entry_.fields |= bit;
    if (bit == 1) return type();
    if (!numbers()) return false;
    if (bit == 2) {
      entry_.info.shape.assign(numbers_.begin(), numbers_.begin() + static_cast<std::ptrdiff_t>(count_));
      return true;
    }
    entry_.info.begin = numbers_[0];
    entry_.info.end = numbers_[1];
    return count_ == 2;
  }
  bool type() {
    std::string_view name;
    if (!in_.string(name)) return false;
    auto const known = dtype_by_name(name);
    if (known) entry_.info.type = *known;
    return known.has_value();
  }
  bool numbers() {
    count_ = 0;
    if (!in_.take('[')) return false;
    if (in_.take(']')) return true;
    do {
      if (count_ == numbers_.size() || !in_.number(numbers_[count_++])) return false;
    } while (in_.take(','));
    return in_.take(']');
  }

  std::string_view text_;
  plain_json in_;
  header_contents& out_;
  std::size_t place_ = 0, count_ = 0;
  bool is_metadata_ = false;
  std::map<std::string, std::string> metadata_;
  header_entry entry_;
  std::array<std::uint64_t, 64> numbers_{};
};

}  // namespace detail
CULL_NAMESPACE_END
