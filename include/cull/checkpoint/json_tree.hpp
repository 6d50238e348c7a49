// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/json.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// A JSON document that needs no memory to be destroyed: nlohmann's own destructor allocates a list of what it holds, and ends
/// the program where there is no memory for it. To be looked at: as a copy it would be taken for a list of its members.
class json_tree : public json {
 public:
  json_tree() = default;
  json_tree(json_tree&& other) noexcept : json_tree() { swap(other); }
  json_tree(json_tree const&) = delete;
  json_tree& operator=(json_tree&& other) noexcept {
    swap(other);
    return *this;
  }
  ~json_tree() { empty(*this); }

  /// RFC 7386: members of `patch` replace or complete those that are there, null removes.
  void merge(json const& patch) { merge(*this, patch); }

  /// Leaves no element, from the innermost out; nesting is bounded by the parser.
  static void empty(json& value) noexcept {
    if (auto* const list = value.get_ptr<array_t*>()) {
      for (auto& each : *list) empty(each);
      list->clear();
    } else if (auto* const members = value.get_ptr<object_t*>()) {
      for (auto& [key, member] : *members) empty(member);
      members->clear();
    }
  }

 private:
  static void merge(json& to, json const& patch) {
    if (!patch.is_object()) return replace(to, patch);
    if (!to.is_object()) make(to, object());
    for (auto const& [key, value] : patch.items()) {
      auto const known = to.find(key);
      if (!value.is_null()) {
        merge(to[key], value);
      } else if (known != to.end()) {
        empty(*known);
        to.erase(known);
      }
    }
  }
  static void replace(json& to, json const& by) {
    if (!by.is_array()) return make(to, by);
    make(to, array());
    for (auto const& each : by) merge(to.emplace_back(), each);
  }
  static void make(json& to, json value) {
    empty(to);
    to.swap(value);
  }
};

/// Builds a tree from a parser's events.
class json_builder final : public nlohmann::json_sax<json> {
 public:
  json_builder(json& root, std::size_t const& read, std::string const& file, std::uint64_t base)
      : root_(root), read_(read), file_(file), base_(base) {}

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(std::int64_t value) override { return put(value); }
  bool number_unsigned(std::uint64_t value) override { return put(value); }
  bool number_float(double value, std::string const&) override { return put(value); }
  bool string(std::string& value) override { return put(std::move(value)); }
  bool binary(json::binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(std::string& text) override {
    if (open_.back()->contains(text)) fail(errc::duplicate_key, "key '" + printable(text) + "' appears twice");
    key_ = std::move(text);
    return true;
  }
  bool parse_error(std::size_t, std::string const&, nlohmann::detail::exception const& problem) override {
    fail(errc::json_syntax, json_reason(problem));
  }

 private:
  json& place() {
    if (open_.empty()) return root_;
    return open_.back()->is_array() ? open_.back()->emplace_back() : (*open_.back())[key_];
  }
  template <class Value>
  bool put(Value&& value) {
    place() = std::forward<Value>(value);
    return true;
  }
  bool open(json&& container) {
    auto& at = place();
    at = std::move(container);
    open_.push_back(&at);
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }
  [[noreturn]] void fail(errc code, std::string const& why) const {
    throw error{code, why, {.file = file_, .byte = base_ + (read_ > 0 ? read_ - 1 : 0)}};
  }

  json& root_;
  std::size_t const& read_;
  std::string const& file_;
  std::uint64_t base_;
  std::vector<json*> open_;  ///< only the last of an object or list is open, so that none moves
  std::string key_;
};

inline void parse_into(json& root, std::string_view whole, std::string const& file) {
  auto const text = json_root(whole, json_depth_limit, {.file = file});
  std::size_t read = 0;
  json_builder builder{root, read, file, static_cast<std::uint64_t>(text.data() - whole.data())};
  json::sax_parse(counted_iterator{text.data(), &read}, counted_iterator{text.data() + text.size(), &read}, &builder);
}

/// A JSON file as a document. Strict: no byte order mark, comment, NUL, duplicate key, or nesting beyond 64.
/// Throws `errc::json_syntax`, `json_trailing`, `json_depth`, `bad_utf8`, `duplicate_key`, with the byte.
inline json_tree parse_tree(std::string_view text, std::string const& file) {
  json_tree out;
  parse_into(out, text, file);
  return out;
}
/// The same as a value that may be copied and changed.
inline json parse_json(std::string_view text, std::string const& file) {
  json out;
  parse_into(out, text, file);
  return out;
}

}  // namespace detail
CULL_NAMESPACE_END
