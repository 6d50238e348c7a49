// SPDX-License-Identifier: Apache-2.0
// A model directory, a plan and options as one text that people can read and a fuzzer can change: "== NAME" begins a file.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fuzz {

/// Sections of such a text, in their order. Of a .safetensors file the text has the header; its data are made up.
using model_text = std::vector<std::pair<std::string, std::string>>;

inline bool is_plain_name(std::string_view name) {
  constexpr std::string_view allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  return !name.empty() && name.size() <= 64 && name[0] != '.' && name.find_first_not_of(allowed) == std::string_view::npos;
}

/// At most 12 sections; what has no plain name is left out, and of two with one name the first counts.
inline model_text split_model_text(std::string_view text) {
  model_text out;
  constexpr std::string_view mark = "== ";
  for (std::size_t at = text.starts_with(mark) ? 0 : text.find("\n== "); at < text.size() && out.size() < 12;) {
    at += text[at] == '\n' ? 1u : 0u;
    auto const line = std::min(text.find('\n', at), text.size());
    auto const end = std::min(text.find("\n== ", line), text.size());
    auto const name = text.substr(at + mark.size(), line - at - mark.size());
    bool const known = std::any_of(out.begin(), out.end(), [&](auto const& each) { return each.first == name; });
    if (is_plain_name(name) && !known)
      out.emplace_back(name, text.substr(std::min(line + 1, end), end - std::min(line + 1, end)));
    at = end;
  }
  return out;
}
inline std::string join_model_text(model_text const& sections) {
  std::string out;
  for (auto const& [name, text] : sections) out += (out.empty() ? "== " : "\n== ") + name + "\n" + text;
  return out;
}

/// Where the data of a header end: the largest second number of its data_offsets, as far as this is a text of them.
inline std::size_t data_end(std::string_view header) {
  std::size_t out = 0;
  constexpr std::string_view key = "\"data_offsets\":[";
  for (auto at = header.find(key); at != std::string_view::npos; at = header.find(key, at + 1)) {
    auto const comma = header.find(',', at + key.size());
    if (comma == std::string_view::npos) break;
    std::size_t value = 0;
    for (auto i = comma + 1; i < header.size() && header[i] >= '0' && header[i] <= '9' && value < 65536; ++i)
      value = value * 10 + static_cast<std::size_t>(header[i] - '0');
    if (value <= 65536) out = std::max(out, value);
  }
  return out;
}

/// A safetensors file with that header. Bytes differ from place to place and are of small positive numbers in every format.
inline std::string safetensors_bytes(std::string const& name, std::string_view header) {
  std::string out;
  for (unsigned i = 0; i < 8; ++i) out += static_cast<char>((static_cast<std::uint64_t>(header.size()) >> (8 * i)) & 0xff);
  out += header;
  std::uint64_t state = 1;
  for (char const c : name) state = state * 31 + static_cast<unsigned char>(c);
  for (auto left = data_end(header); left > 0; --left) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    out += static_cast<char>((state >> 40) & 0x3f);
  }
  return out;
}

/// Bits of a type as headers name it: 4 of F4, 8 of F8_E4M3, U8 and BOOL, 16 of BF16 and so on.
inline std::uint64_t bits_of_name(std::string const& dtype) {
  std::size_t at = 0;
  while (at < dtype.size() && (dtype[at] < '0' || dtype[at] > '9')) ++at;
  std::uint64_t bits = 0;
  for (; at < dtype.size() && dtype[at] >= '0' && dtype[at] <= '9' && bits < 1000; ++at)
    bits = bits * 10 + static_cast<unsigned>(dtype[at] - '0');
  return bits == 0 ? 8 : bits;
}

/// Gives every entry of a header the data_offsets that its type and shape ask for, one behind the other; false where it is no
/// header or would be too large.
inline bool tile_header(std::string& text) {
  auto root = nlohmann::ordered_json::parse(text, nullptr, false);
  if (!root.is_object()) return false;
  std::uint64_t end = 0;
  for (auto& [name, entry] : root.items()) {
    if (!entry.is_object() || !entry.contains("shape") || !entry["shape"].is_array() || !entry.contains("dtype")) continue;
    if (!entry["dtype"].is_string()) continue;
    std::uint64_t size = bits_of_name(entry["dtype"].get<std::string>());
    for (auto const& n : entry["shape"]) {
      if (!n.is_number_unsigned() || n.get<std::uint64_t>() > 4096) return false;
      size *= n.get<std::uint64_t>();
      if (size > 8 * 65536) return false;
    }
    entry["data_offsets"] = {end, end + size / 8};
    end += size / 8;
  }
  text = root.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  return end <= 65536;
}

/// The index that the headers ask for.
inline std::string index_of(model_text const& sections) {
  nlohmann::ordered_json root{{"metadata", nlohmann::ordered_json::object()}, {"weight_map", nlohmann::ordered_json::object()}};
  for (auto const& [file, text] : sections) {
    if (!file.ends_with(".safetensors")) continue;
    auto const header = nlohmann::ordered_json::parse(text, nullptr, false);
    if (!header.is_object()) continue;
    for (auto const& [name, entry] : header.items()) {
      if (name != "__metadata__") root["weight_map"][name] = file;
    }
  }
  return root.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace fuzz
