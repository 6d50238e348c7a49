// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/json_tree.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// A config.json, read by dotted key ("rope_parameters.rope_theta"). Throws `errc::bad_config` with file and key where a value is
/// missing or of another type; numbers are not converted silently.
class config_view {
 public:
  config_view() = default;
  config_view(std::string text, std::string file)
      : text_(std::move(text)),
        file_(std::move(file)),
        root_(std::make_shared<detail::json_tree const>(detail::parse_tree(text_, file_))) {
    if (!root_->is_object()) throw error{errc::bad_config, "must be a JSON object", {.file = file_}};
  }

  /// The file as it is.
  std::string const& text() const { return text_; }
  std::string const& file() const { return file_; }

  /// True where the key exists and is not null.
  bool has(std::string_view key) const {
    auto const* const found = find(key);
    return found != nullptr && !found->is_null();
  }
  std::int64_t integer(std::string_view key) const { return as_integer(key, require(key)); }
  std::int64_t integer(std::string_view key, std::int64_t otherwise) const { return has(key) ? integer(key) : otherwise; }
  double number(std::string_view key) const {
    auto const& value = require(key);
    if (!value.is_number()) refuse(key, "a number");
    return value.get<double>();
  }
  double number(std::string_view key, double otherwise) const { return has(key) ? number(key) : otherwise; }
  bool boolean(std::string_view key) const {
    auto const& value = require(key);
    if (!value.is_boolean()) refuse(key, "true or false");
    return value.get<bool>();
  }
  bool boolean(std::string_view key, bool otherwise) const { return has(key) ? boolean(key) : otherwise; }
  std::string text(std::string_view key) const {
    auto const& value = require(key);
    if (!value.is_string()) refuse(key, "a string");
    return value.get<std::string>();
  }
  std::string text(std::string_view key, std::string otherwise) const { return has(key) ? text(key) : std::move(otherwise); }
  /// A list of integers; one integer counts as a list of one.
  std::vector<std::int64_t> integers(std::string_view key) const {
    auto const& value = require(key);
    if (!value.is_array()) return {as_integer(key, value)};
    std::vector<std::int64_t> out;
    for (auto const& each : value) out.push_back(as_integer(key, each));
    return out;
  }
  /// A number of things, or a list of them.
  std::int64_t integer_or_length(std::string_view key) const {
    auto const& value = require(key);
    return value.is_array() ? static_cast<std::int64_t>(value.size()) : as_integer(key, value);
  }
  /// One number, or that of place `at` in a list; null or a list too short: `otherwise`.
  double number_of(std::string_view key, int at, double otherwise) const {
    auto const& value = require(key);
    auto const* one = &value;
    if (value.is_array())
      one = at >= 0 && static_cast<std::size_t>(at) < value.size() ? &value.at(static_cast<std::size_t>(at)) : nullptr;
    if (one == nullptr || one->is_null()) return otherwise;
    if (!one->is_number()) refuse(key, "a number or a list of numbers");
    return one->get<double>();
  }
  std::vector<std::string> texts(std::string_view key) const {
    auto const& value = require(key);
    std::vector<std::string> out;
    if (!value.is_array()) refuse(key, "a list of strings");
    for (auto const& each : value) {
      if (!each.is_string()) refuse(key, "a list of strings");
      out.push_back(each.get<std::string>());
    }
    return out;
  }

 private:
  detail::json const* find(std::string_view key) const {
    detail::json const* at = root_.get();
    while (at != nullptr && !key.empty()) {
      auto const dot = key.find('.');
      auto const step = std::string{key.substr(0, dot)};
      at = at->is_object() && at->contains(step) ? &at->at(step) : nullptr;
      key = dot == std::string_view::npos ? std::string_view{} : key.substr(dot + 1);
    }
    return at;
  }
  detail::json const& require(std::string_view key) const {
    if (auto const* const found = find(key)) return *found;
    throw error{errc::bad_config, "key '" + std::string{key} + "' is missing", {.file = file_}};
  }
  std::int64_t as_integer(std::string_view key, detail::json const& value) const {
    if (!value.is_number_integer() || (value.is_number_unsigned() && value.get<std::uint64_t>() > (std::uint64_t{1} << 62)))
      refuse(key, "an integer");
    return value.get<std::int64_t>();
  }
  [[noreturn]] void refuse(std::string_view key, std::string const& wanted) const {
    throw error{errc::bad_config, "key '" + std::string{key} + "' must be " + wanted, {.file = file_}};
  }

  std::string text_;
  std::string file_;
  std::shared_ptr<detail::json const> root_ = std::make_shared<detail::json const>(detail::json::object());
};

CULL_NAMESPACE_END
