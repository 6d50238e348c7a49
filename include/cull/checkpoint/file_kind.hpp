// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

struct file_kind {
  std::string_view start;
  std::string_view what;
};

/// Texts are compared without case and leading white space.
inline constexpr std::array<file_kind, 6> known_texts{{
    {"version https://git-lfs", "a git-lfs pointer: run 'git lfs pull'"},
    {"<!doctype", "a web page; was the download refused?"},
    {"<html", "a web page; was the download refused?"},
    {"<?xml", "an XML text; was the download refused?"},
    {"entry not found", "a server's message; was the download refused?"},
    {"{\"", "a JSON text; was the download refused?"},
}};

inline constexpr std::array<file_kind, 12> known_bytes{{
    {"\x1f\x8b", "gzip data"},
    {"\x28\xb5\x2f\xfd", "Zstandard data"},
    {"\xfd"
     "7zXZ",
     "xz data"},
    {"PK\x03\x04", "a zip archive (a torch checkpoint?)"},
    {"GGUF", "a GGUF file"},
    {"\x89HDF\r\n", "an HDF5 file"},
    {"\x93NUMPY", "a NumPy array"},
    {"\x80\x02", "a Python pickle"},
    {"\x80\x03", "a Python pickle"},
    {"\x80\x04", "a Python pickle"},
    {"\x80\x05", "a Python pickle"},
    {"\x7f"
     "ELF",
     "a program"},
}};

/// What a file that is no safetensors file looks like by its first bytes, or nothing. A length field may look like anything, so
/// what goes on with '{' is left to the parser.
inline std::string_view looks_like(std::string_view start) {
  if (start.size() > 8 && start[8] == '{') return {};
  for (auto const& kind : known_bytes) {
    if (start.starts_with(kind.start)) return kind.what;
  }
  std::string text;
  for (char const c : start.substr(0, 64)) {
    bool const space = c == ' ' || c == '\n' || c == '\r' || c == '\t';
    if (!text.empty() || !space) text += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  for (auto const& kind : known_texts) {
    if (text.starts_with(kind.start)) return kind.what;
  }
  return {};
}

}  // namespace detail
CULL_NAMESPACE_END
