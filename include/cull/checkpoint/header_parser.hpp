// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <tuple>
#include <unordered_set>
#include <utility>
#include <vector>

#include <cull/checkpoint/dtype.hpp>
#include <cull/checkpoint/json.hpp>
#include <cull/checkpoint/tensor_info.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// SAX handler for the one grammar a safetensors header may have: an object of entries, each of exactly dtype, shape and
/// data_offsets, and `__metadata__` of strings. Offsets stay relative to the data.
class header_parser : public nlohmann::json_sax<json> {
 public:
  header_parser(std::string_view text, std::string const& file) : text_(text), file_(file) {}

  void parse(std::map<std::string, std::string>& metadata, std::vector<tensor_info>& tensors) {
    metadata_ = &metadata;
    tensors_ = &tensors;
    if (!text_.starts_with('{')) fail("a header begins with '{'");
    check_json_bytes(text_, {.file = file_}, 8);
    json::sax_parse(counted_iterator{text_.data(), &read_}, counted_iterator{text_.data() + text_.size(), &read_}, this);
  }

  bool start_object(std::size_t) override {
    if (++depth_ == 1) return true;
    if (depth_ != 2 || in_array_) fail("an object where there must be none");
    if (key_ == "__metadata__") {
      in_metadata_ = true;
    } else {
      open_ = {};
      open_.name = key_;
      fields_ = 0;
    }
    return true;
  }
  bool key(std::string& text) override {
    if (depth_ == 2 && in_metadata_) {
      if (!metadata_keys_.insert(text).second) fail("metadata key '" + text + "' appears twice");
    } else if (depth_ == 1) {
      if (text.size() > 4096 || text.find('\0') != std::string::npos)
        fail("a tensor name is longer than 4096 bytes or holds a NUL");
      if (!names_.insert(text).second) fail("'" + text + "' appears twice");
    }
    (depth_ == 1 ? key_ : field_) = text;
    return true;
  }
  bool end_object() override {
    if (depth_-- == 1) return true;
    if (std::exchange(in_metadata_, false)) return true;
    close_entry();
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth_ != 2 || in_metadata_ || in_array_ || (field_ != "shape" && field_ != "data_offsets"))
      fail("an array where there must be none");
    in_array_ = true;
    numbers_.clear();
    return true;
  }
  bool end_array() override {
    in_array_ = false;
    if (field_ == "shape") {
      mark(2);
      open_.shape = numbers_;
      return true;
    }
    mark(4);
    if (numbers_.size() != 2) fail("data_offsets must be two numbers");
    open_.begin = numbers_[0];
    open_.end = numbers_[1];
    return true;
  }
  bool string(std::string& text) override {
    if (in_metadata_) {
      (*metadata_)[field_] = text;
    } else if (depth_ == 2 && !in_array_ && field_ == "dtype") {
      mark(1);
      auto const type = dtype_by_name(text);
      if (!type) fail("dtype '" + text + "' is not known");
      open_.type = *type;
    } else {
      fail("a string where there must be none");
    }
    return true;
  }
  bool number_unsigned(std::uint64_t value) override {
    if (!in_array_) fail("a number where there must be none");
    if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) fail("a number beyond 2^63 - 1");
    if (numbers_.size() == 64) fail("more than 64 dimensions");
    numbers_.push_back(value);
    return true;
  }
  bool number_integer(std::int64_t) override { fail("a negative number"); }
  bool number_float(double, std::string const& text) override { fail("'" + text + "' is not an integer below 2^63"); }
  bool null() override {
    if (depth_ == 1 && key_ == "__metadata__") return true;
    fail("null where there must be a value");
  }
  bool boolean(bool) override { fail("true or false where there must be none"); }
  bool binary(json::binary_t&) override { fail("binary data"); }
  bool parse_error(std::size_t, std::string const&, nlohmann::detail::exception const& problem) override {
    std::string const what = problem.what();
    auto const at = what.find(": ");
    throw error{errc::bad_json,
                "header is not valid JSON: " + (at == std::string::npos ? what : what.substr(at + 2)),
                {.file = file_, .byte = 8 + (read_ > 0 ? read_ - 1 : 0)}};
  }

 private:
  [[noreturn]] void fail(std::string const& why) const {
    auto const tensor = depth_ == 2 && !in_metadata_ ? open_.name : std::string{};
    throw error{errc::bad_header, "header: " + why, {.file = file_, .tensor = tensor, .byte = 8 + (read_ > 0 ? read_ - 1 : 0)}};
  }
  void mark(unsigned field) {
    if ((fields_ & field) != 0) fail("'" + field_ + "' appears twice");
    fields_ |= field;
  }

  void close_entry() {
    ++depth_;  // so that messages still name the tensor
    if (fields_ != 7)
      fail(std::string{"lacks "} + ((fields_ & 1) == 0 ? "dtype" : (fields_ & 2) == 0 ? "shape" : "data_offsets"));
    if (open_.begin > open_.end) fail("data_offsets run backwards");
    unsigned __int128 total = static_cast<unsigned>(bits(open_.type));
    bool const empty = std::find(open_.shape.begin(), open_.shape.end(), 0u) != open_.shape.end();
    for (auto const n : open_.shape) {
      if (!empty && (total *= n) >> 66 != 0) fail("shape has more elements than a file can hold");
    }
    if (empty) total = 0;
    if (total % 8 != 0) fail("elements of less than a byte do not fill whole bytes");
    if (total / 8 != open_.end - open_.begin) {
      fail("shape and dtype ask for " + std::to_string(static_cast<std::uint64_t>(total / 8)) + " bytes, data_offsets hold " +
           std::to_string(open_.end - open_.begin));
    }
    --depth_;
    tensors_->push_back(std::move(open_));
  }

  std::string_view text_;
  std::string const& file_;
  std::size_t read_ = 0;
  std::map<std::string, std::string>* metadata_ = nullptr;
  std::vector<tensor_info>* tensors_ = nullptr;
  int depth_ = 0;
  bool in_array_ = false;
  bool in_metadata_ = false;
  unsigned fields_ = 0;
  std::string key_, field_;
  tensor_info open_;
  std::vector<std::uint64_t> numbers_;
  std::unordered_set<std::string> names_, metadata_keys_;
};

}  // namespace detail
CULL_NAMESPACE_END
