// SPDX-License-Identifier: Apache-2.0
// Files that a strict reader must refuse, and legal ones that careless readers refuse; each made by a program, with the answer
// beside it. Rows are those of docs/malformed.md.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/leniency.hpp>
#include <cull/error.hpp>

namespace malformed {

struct header_case {
  int row = 0;
  std::string name;
  std::function<std::string()> bytes;
  std::optional<cull::errc> expected = {};  ///< nothing: must be read
  std::optional<std::uint64_t> byte = {};   ///< where the error must point
  std::optional<std::string> pointer = {};  ///< place in the JSON text that it must name
  std::optional<std::string> tensor = {};
  std::optional<std::size_t> tensors = {};  ///< how many a legal file has
  cull::leniency allowed = {};
  bool large = false;  ///< may take up to a second
};

inline std::string length(std::uint64_t size) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>((size >> (8 * i)) & 0xff);
  return out;
}
inline std::string file(std::string const& json, std::size_t data = 0) {
  return length(json.size()) + json + std::string(data, '\x7f');
}
inline std::string repeated(std::string const& text, std::size_t times) {
  std::string out;
  out.reserve(text.size() * times);
  for (std::size_t i = 0; i < times; ++i) out += text;
  return out;
}
/// A tensor's entry.
inline std::string entry(std::string const& name, std::string const& dtype, std::string const& shape,
                         std::string const& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}

/// Collects cases. In a JSON text the mark '^' stands before the byte that the error must name, and is taken out.
class corpus {
 public:
  void legal(int row, std::string name, std::string const& json, std::size_t data, std::size_t tensors) {
    add({.row = row, .name = std::move(name), .bytes = fixed(file(json, data)), .tensors = tensors});
  }
  void bad(int row, std::string name, cull::errc code, std::string json, std::size_t data = 4,
           std::optional<std::string> pointer = {}, std::optional<std::string> tensor = {}) {
    std::optional<std::uint64_t> byte;
    if (auto const mark = json.find('^'); mark != std::string::npos) {
      json.erase(mark, 1);
      byte = 8 + mark;
    }
    add({.row = row,
         .name = std::move(name),
         .bytes = fixed(file(json, data)),
         .expected = code,
         .byte = byte,
         .pointer = std::move(pointer),
         .tensor = std::move(tensor)});
  }
  void bytes(int row, std::string name, cull::errc code, std::string whole, std::uint64_t byte = 0) {
    add({.row = row, .name = std::move(name), .bytes = fixed(std::move(whole)), .expected = code, .byte = byte});
  }
  void add(header_case each) { cases_.push_back(std::move(each)); }
  std::vector<header_case> take() { return std::move(cases_); }

 private:
  static std::function<std::string()> fixed(std::string whole) {
    return [whole = std::move(whole)] { return whole; };
  }
  std::vector<header_case> cases_;
};

std::vector<header_case> header_cases();

}  // namespace malformed
