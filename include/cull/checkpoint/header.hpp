// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <cull/checkpoint/dtype.hpp>
#include <cull/checkpoint/header_parser.hpp>
#include <cull/checkpoint/tensor_info.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// What a safetensors file says about itself. Offsets count from the start of the file.
struct safetensors_header {
  std::uint64_t data_begin = 0;
  std::map<std::string, std::string> metadata;
  std::vector<tensor_info> tensors;  ///< in the order of their data
};

/// Most bytes a header may have, as in the reference implementation.
inline constexpr std::uint64_t max_header_bytes = 100'000'000;

namespace detail {

/// What a file that is no safetensors file looks like, to say so.
inline std::string_view looks_like(std::string_view start) {
  if (start.size() > 8 && start[8] == '{') return {};  // the length of a header may look like anything
  if (start.starts_with("version https://git-lfs")) return "a git-lfs pointer: run 'git lfs pull'";
  if (start.starts_with("<!DOCTYPE") || start.starts_with("<html") || start.starts_with("<!doctype")) return "a web page";
  if (start.starts_with("\x1f\x8b")) return "gzip data";
  if (start.starts_with("PK\x03\x04")) return "a zip archive (a torch checkpoint?)";
  if (start.starts_with("GGUF")) return "a GGUF file";
  if (start.starts_with("\x80\x02") || start.starts_with("\x80\x04")) return "a Python pickle";
  return {};
}

/// Tensors must tile the data: no hole, no overlap, nothing behind.
inline void check_tiling(safetensors_header const& header, std::uint64_t file_size, std::string const& file) {
  std::uint64_t end = header.data_begin;
  std::string const* before = nullptr;
  for (auto const& t : header.tensors) {
    error_location const where{.file = file, .tensor = t.name, .byte = t.begin};
    if (t.begin < end) {
      throw error{errc::bad_header, "overlaps " + (before == nullptr ? std::string{"the header"} : "tensor '" + *before + "'"),
                  where};
    }
    if (t.begin > end)
      throw error{errc::bad_header, std::to_string(t.begin - end) + " bytes before this tensor belong to none", where};
    if (t.end > file_size) {
      throw error{
          errc::bad_header,
          "the file is " + std::to_string(t.end - file_size) + " bytes short of this tensor's end; copy or download it again",
          where};
    }
    end = t.end;
    before = &t.name;
  }
  if (end != file_size) {
    throw error{errc::bad_header,
                std::to_string(file_size - end) + " bytes after the last tensor belong to none",
                {.file = file, .byte = end}};
  }
}

}  // namespace detail

/// Parses the header of a file of `file_size` bytes whose first bytes are `start` (at least 8 + header, or all of it).
/// Strict: what the format forbids is an error, and so is what only some readers accept (duplicate names, NUL in a name, unknown
/// fields). Linear in the header's size. Throws `errc::not_safetensors`, `errc::bad_header`, `errc::bad_json`.
inline safetensors_header parse_safetensors_header(std::span<std::byte const> start, std::uint64_t file_size,
                                                   std::string const& file) {
  std::string_view const text{reinterpret_cast<char const*>(start.data()), start.size()};
  auto const refuse = [&](errc code, std::string const& why, std::uint64_t byte) {
    throw error{code, why, {.file = file, .byte = byte}};
  };
  if (auto const known = detail::looks_like(text); !known.empty()) {
    refuse(errc::not_safetensors, "is not a safetensors file but looks like " + std::string{known}, 0);
  }
  if (file_size < 8)
    refuse(errc::not_safetensors, "has " + std::to_string(file_size) + " bytes; a safetensors file has at least 10", 0);
  std::uint64_t size = 0;
  for (int i = 7; i >= 0; --i) size = (size << 8) | static_cast<unsigned char>(text[static_cast<std::size_t>(i)]);
  if (size == 0) refuse(errc::bad_header, "the header is empty", 0);
  if (size > max_header_bytes) {
    refuse(errc::bad_header,
           "the header claims " + std::to_string(size) + " bytes; at most 100000000 are allowed; is this a safetensors file?", 0);
  }
  if (size > file_size - 8 || start.size() < 8 + size) {
    refuse(errc::bad_header,
           "the header claims " + std::to_string(size) + " bytes, the file has " + std::to_string(file_size - 8) +
               " behind its length; copy or download it again",
           0);
  }
  safetensors_header header;
  header.data_begin = 8 + size;
  detail::header_parser parser{text.substr(8, static_cast<std::size_t>(size)), file};
  parser.parse(header.metadata, header.tensors);
  for (auto& t : header.tensors) {
    t.begin += header.data_begin;
    t.end += header.data_begin;
  }
  std::sort(header.tensors.begin(), header.tensors.end(),
            [](auto const& a, auto const& b) { return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name); });
  detail::check_tiling(header, file_size, file);
  return header;
}

CULL_NAMESPACE_END
