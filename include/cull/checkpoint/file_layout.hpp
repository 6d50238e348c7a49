// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/header.hpp>
#include <cull/checkpoint/json.hpp>
#include <cull/checkpoint/tensor_info.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// Where everything in a safetensors file lies, known before a byte is written.
struct file_layout {
  std::string header;                ///< length field and JSON text, padded so that data begins at a multiple of 8
  std::vector<tensor_info> tensors;  ///< in file order, offsets from the start of the file
  std::uint64_t size = 0;            ///< of the whole file
};

namespace detail {

/// JSON texts without a tree of them, whose destructor would need memory.
inline std::string metadata_text(std::map<std::string, std::string> const& metadata) {
  std::string out;
  for (auto const& [key, text] : metadata) out += (out.empty() ? "{" : ",") + json(key).dump() + ":" + json(text).dump();
  return out + "}";
}
inline std::string shape_text(std::vector<std::uint64_t> const& shape) {
  std::string out = "[";
  for (auto const n : shape) out += (out.size() > 1 ? "," : "") + std::to_string(n);
  return out + "]";
}

}  // namespace detail

/// Lays out `tensors` (name, type, shape) as the reference writer does: type from wide to narrow, then name, so that every tensor
/// is aligned. A function of its arguments: the order of `tensors` does not matter.
/// Throws `errc::bad_name`, `errc::header_too_large` for what a reader would refuse.
inline file_layout lay_out(std::map<std::string, std::string> const& metadata, std::vector<tensor_info> tensors) {
  std::sort(tensors.begin(), tensors.end(),
            [](auto const& a, auto const& b) { return a.type != b.type ? a.type > b.type : a.name < b.name; });
  file_layout out;
  std::uint64_t end = 0;
  std::string text = "{";
  if (!metadata.empty()) text += "\"__metadata__\":" + detail::metadata_text(metadata);
  for (auto& t : tensors) {
    if (t.name == "__metadata__") throw error{errc::bad_name, "a tensor cannot have this name", {.tensor = t.name}};
    t.begin = end;
    t.end = end += t.elements() * static_cast<std::uint64_t>(bits(t.type)) / 8;
    text += (text.size() > 1 ? ",\"" : "\"") + detail::json(t.name).dump().substr(1) + ":{\"dtype\":\"" +
            std::string{name(t.type)} + "\",\"shape\":" + detail::shape_text(t.shape) + ",\"data_offsets\":[" +
            std::to_string(t.begin) + "," + std::to_string(t.end) + "]}";
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  if (text.size() > max_header_bytes) throw error{errc::header_too_large, "too many tensors for one file; use more shards"};
  for (int i = 0; i < 8; ++i) out.header += static_cast<char>((text.size() >> (8 * i)) & 0xff);
  out.header += text;
  for (auto& t : tensors) {
    t.begin += out.header.size();
    t.end += out.header.size();
  }
  out.size = out.header.size() + end;
  out.tensors = std::move(tensors);
  return out;
}

CULL_NAMESPACE_END
