// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/dtype.hpp>
#include <cull/checkpoint/header_entry.hpp>
#include <cull/checkpoint/json_events.hpp>
#include <cull/checkpoint/leniency.hpp>
#include <cull/checkpoint/tensor_info.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// Most bytes of a tensor's name.
inline constexpr std::size_t max_name_bytes = 4096;
inline constexpr char metadata_name[] = "__metadata__";

/// Handler for the one grammar a safetensors header may have: an object of entries, each of dtype, shape and data_offsets, and
/// `__metadata__` of strings. Offsets stay relative to the data. Whether names repeat is left to the caller.
class header_parser final : public json_events {
 public:
  header_parser(std::string_view text, std::string const& file, std::uint64_t base, leniency const& allowed)
      : json_events(text, file, base), allowed_(allowed) {}

  /// Goes on where `out` may hold what stood before `text`; places count from `before`.
  void parse(header_contents& out, std::uint32_t before = 0) {
    out_ = &out;
    before_ = before;
    run();
  }

  bool start_object(std::size_t) override {
    if (skip(1)) return true;
    if (place_ == place::value || place_ == place::metadata || place_ == place::list) refuse_value("an object");
    if (place_ == place::outside) {
      place_ = place::top;
    } else {
      place_ = key_ == metadata_name ? place::metadata : place::entry;
      entry_ = {};
      entry_.info.name = key_;
      out_->has_metadata |= place_ == place::metadata;
    }
    return true;
  }
  bool key(std::string& text) override {
    if (skipping_ > 0) return true;
    if (place_ == place::top) {
      key_.swap(text);
      key_given_ = true;
      key_place_ = before_ + static_cast<std::uint32_t>(token_begin());
      check_name(key_);
      if (key_ == metadata_name && out_->has_metadata) fail(errc::duplicate_key, "'__metadata__' appears twice");
    } else if (place_ == place::metadata) {
      field_.swap(text);
      field_given_ = true;
      check_name(field_);
      if (out_->metadata.contains(field_)) fail(errc::duplicate_key, "metadata key '" + printable(field_) + "' appears twice");
    } else {
      field_.swap(text);
      field_.resize(std::min(field_.size(), max_name_bytes));
      open_field();
    }
    return true;
  }
  bool end_object() override {
    if (skip(-1)) return true;
    if (place_ == place::entry) close_entry();
    place_ = place_ == place::top ? place::outside : place::top;
    key_given_ = false;
    return true;
  }
  bool start_array(std::size_t) override {
    if (skip(1)) return true;
    if (place_ == place::list) fail(errc::bad_shape, "a list in a list");
    if (place_ != place::value || open_ == field::dtype) refuse_value("a list");
    place_ = place::list;
    numbers_.clear();
    return true;
  }
  bool end_array() override {
    if (skip(-1)) return true;
    place_ = place::value;
    if (open_ == field::shape) {
      entry_.info.shape = numbers_;
    } else {
      if (numbers_.size() != 2) fail(errc::bad_shape, "data_offsets must be two numbers");
      entry_.info.begin = numbers_[0];
      entry_.info.end = numbers_[1];
    }
    return done();
  }
  bool string(std::string& text) override {
    if (skip(0)) return true;
    if (place_ == place::metadata) {
      out_->metadata.emplace(std::move(field_), std::move(text));
      field_given_ = false;
      return true;
    }
    if (place_ != place::value || open_ != field::dtype) refuse_value("a string");
    auto const type = dtype_by_name(text);
    if (!type) fail(errc::unknown_dtype, "dtype '" + printable(text, 60) + "' is not known");
    entry_.info.type = *type;
    return done();
  }
  bool number_unsigned(std::uint64_t value) override {
    if (skip(0)) return true;
    if (place_ != place::list) refuse_value("a number", token::number);
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) refuse_number(std::to_string(value));
    if (numbers_.size() == 64) fail(errc::rank_too_large, "more than 64 dimensions", token::number);
    numbers_.push_back(value);
    return true;
  }
  bool number_integer(std::int64_t value) override {
    if (skip(0)) return true;
    if (place_ != place::list) refuse_value("a number", token::number);
    refuse_number(value == 0 ? "-0" : std::to_string(value));
  }
  bool number_float(double, std::string const& text) override {
    if (skip(0)) return true;
    if (place_ != place::list) refuse_value("a number", token::number);
    refuse_number(text);
  }
  bool null() override {
    if (skip(0)) return true;
    if (place_ != place::top || key_ != metadata_name) refuse_value("null");
    out_->has_metadata = true;
    key_given_ = false;
    return true;
  }
  bool boolean(bool) override {
    if (skip(0)) return true;
    refuse_value("true or false");
  }

 protected:
  std::string tensor() const override { return !key_given_ || key_ == metadata_name ? std::string{} : key_; }
  std::string pointer() const override {
    if (!key_given_) return {};
    auto out = pointer_step(key_);
    if (field_given_) out += pointer_step(field_);
    if (place_ == place::list) out += pointer_step(std::to_string(numbers_.size()));
    return out;
  }
  bool in_numbers() const override { return place_ == place::list; }
  void forget_number() override {
    if (!numbers_.empty()) numbers_.pop_back();
  }

 private:
  enum class place { outside, top, metadata, entry, value, list };
  enum class field { dtype, shape, data_offsets, unknown };

  /// Counts through a value of an unknown field; true while inside one.
  bool skip(int levels) {
    if (open_ != field::unknown || place_ != place::value) return false;
    skipping_ += levels;
    if (skipping_ == 0) done();
    return true;
  }
  bool done() {
    place_ = place::entry;
    field_given_ = false;
    return true;
  }
  void check_name(std::string& name) const {
    if (name.size() > max_name_bytes) {
      name.resize(max_name_bytes);  // it may have a hundred million, and goes into the error
      fail(errc::bad_name, "a name of more than 4096 bytes");
    }
    if (!allowed_.nul_in_names && name.find('\0') != std::string::npos) fail(errc::bad_name, "a name with NUL");
  }
  void open_field() {
    field_given_ = true;
    open_ = field_ == "dtype"          ? field::dtype
            : field_ == "shape"        ? field::shape
            : field_ == "data_offsets" ? field::data_offsets
                                       : field::unknown;
    if (open_ == field::unknown && !allowed_.unknown_fields) {
      fail(errc::unknown_field, "field '" + printable(field_, 60) + "' may change what the tensor means; allow it by name");
    }
    auto const bit = 1u << static_cast<unsigned>(open_);
    if (open_ != field::unknown && (entry_.fields & bit) != 0) fail(errc::duplicate_key, "'" + field_ + "' appears twice");
    entry_.fields |= bit;
    place_ = place::value;
  }
  void close_entry() {
    field_given_ = false;
    if (auto const problem = entry_.problem()) fail(problem->code, problem->why);
    out_->tensors.push_back(std::move(entry_.info));
    out_->places.push_back(key_place_);
  }
  [[noreturn]] void refuse_value(std::string const& found, token kind = token::other) const {
    auto const why = found + " in the place of ";
    if (place_ == place::metadata) fail(errc::bad_metadata, why + "a string", kind);
    if (place_ == place::list) fail(errc::bad_integer, why + "an integer", kind);
    if (place_ == place::value) {
      if (open_ == field::dtype) fail(errc::unknown_dtype, why + "the name of a type", kind);
      fail(errc::bad_shape, why + "a list of integers", kind);
    }
    if (key_ == metadata_name) fail(errc::bad_metadata, why + "an object of strings", kind);
    fail(errc::bad_entry, why + "an object with dtype, shape and data_offsets", kind);
  }

  leniency const& allowed_;
  header_contents* out_ = nullptr;
  std::uint32_t before_ = 0;
  place place_ = place::outside;
  field open_ = field::dtype;
  bool key_given_ = false;
  bool field_given_ = false;
  std::uint32_t key_place_ = 0;
  int skipping_ = 0;
  std::string key_, field_;
  header_entry entry_;
  std::vector<std::uint64_t> numbers_;
};

}  // namespace detail
CULL_NAMESPACE_END
