// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/header.hpp>
#include <cull/checkpoint/json_writing.hpp>
#include <cull/checkpoint/order.hpp>
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

/// Of a header of a shard, which the hub's own readers refuse beyond; other readers take four times as much.
inline constexpr std::uint64_t max_shard_header_bytes = 25'000'000;

/// JSON texts without a tree of them, whose destructor would need memory.
inline std::string metadata_text(std::map<std::string, std::string> const& metadata) {
  std::string out;
  for (auto const& [key, text] : metadata) {
    append_json_string(out.append(out.empty() ? "{" : ","), key);
    append_json_string(out.append(":"), text);
  }
  return out.append("}");
}
/// The tensor's member of the header; its offsets count from the data.
inline void append_entry(std::string& to, tensor_info const& t) {
  append_json_string(to, t.name);
  to.append(":{\"dtype\":\"").append(name(t.type)).append("\",\"shape\":[");
  for (std::size_t i = 0; i < t.shape.size(); ++i) append_number(i > 0 ? to.append(",") : to, t.shape[i]);
  append_number(to.append("],\"data_offsets\":["), t.begin);
  append_number(to.append(","), t.end);
  to.append("]}");
}

}  // namespace detail

/// Lays out `tensors` (name, type, shape) as the reference writer does: type from wide to narrow, then name, so that every tensor
/// is aligned. A function of its arguments: the order of `tensors` does not matter.
/// Throws `errc::bad_name`, `errc::header_too_large` for what a reader would refuse, which takes `most_header_bytes`.
inline file_layout lay_out(std::map<std::string, std::string> const& metadata, std::vector<tensor_info> tensors,
                           std::uint64_t most_header_bytes = max_header_bytes) {
  detail::sort_runs(tensors, [](auto const& a, auto const& b) { return a.type != b.type ? a.type > b.type : a.name < b.name; });
  file_layout out;
  std::uint64_t end = 0;
  std::string text = "{";
  if (!metadata.empty()) text += "\"__metadata__\":" + detail::metadata_text(metadata);
  std::size_t names = 0;
  for (auto const& t : tensors) names += t.name.size();
  text.reserve(text.size() + names + 100 * tensors.size());
  for (auto& t : tensors) {
    if (t.name == "__metadata__") throw error{errc::bad_name, "a tensor cannot have this name", {.tensor = t.name}};
    t.begin = end;
    t.end = end += t.elements() * static_cast<std::uint64_t>(bits(t.type)) / 8;
    detail::append_entry(text.size() > 1 ? text.append(",") : text, t);
  }
  text += "}";
  text.resize((text.size() + 7) / 8 * 8, ' ');
  if (text.size() > most_header_bytes)
    throw error{errc::header_too_large, "has too many tensors, or names too long, for one file: its header would take " +
                                            std::to_string(text.size()) + " bytes, readers take " +
                                            std::to_string(most_header_bytes) + "; use more shards (--shard-size)"};
  out.header.reserve(8 + text.size());
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
