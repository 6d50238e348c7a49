// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include <cull/checkpoint/file_kind.hpp>
#include <cull/checkpoint/header_parser.hpp>
#include <cull/checkpoint/header_scanner.hpp>
#include <cull/checkpoint/header_tiling.hpp>
#include <cull/checkpoint/leniency.hpp>
#include <cull/checkpoint/tensor_info.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// What a safetensors file says about itself. Offsets count from the start of the file.
struct safetensors_header {
  std::uint64_t data_begin = 0;
  std::map<std::string, std::string> metadata;
  std::vector<tensor_info> tensors;  ///< in the order of their data
  std::uint64_t trailing_bytes = 0;  ///< behind the last tensor, where `leniency::trailing_data` lets them pass
};

/// Most bytes a header may have, as in the reference implementation.
inline constexpr std::uint64_t max_header_bytes = 100'000'000;
/// Bytes from the start of a file with which its kind and the length of its header are told.
inline constexpr std::size_t header_probe_bytes = 64;

namespace detail {

/// Bytes of the header's text by the first bytes of the file (`header_probe_bytes`, or all of a shorter file).
inline std::uint64_t header_text_bytes(std::string_view start, std::uint64_t file_size, std::string const& file) {
  auto const refuse = [&](errc code, std::string const& why) { throw error{code, why, {.file = file, .byte = 0}}; };
  if (auto const known = looks_like(start); !known.empty())
    refuse(errc::not_safetensors, "is not a safetensors file but looks like " + std::string{known});
  if (file_size < 8 || start.size() < 8)
    refuse(errc::too_short, "has " + std::to_string(file_size) + " bytes; a safetensors file has at least 10");
  std::uint64_t size = 0;
  for (int i = 7; i >= 0; --i) size = (size << 8) | static_cast<unsigned char>(start[static_cast<std::size_t>(i)]);
  if (size == 0) refuse(errc::header_empty, "the header is empty");
  auto const claims = "the header claims " + std::to_string(size) + " bytes";
  if (size > max_header_bytes)
    refuse(errc::header_too_large, claims + "; at most 100000000 are allowed; is this a safetensors file?");
  if (size > file_size - 8) {
    refuse(errc::header_past_end,
           claims + ", the file has " + std::to_string(file_size - 8) + " behind its length; copy or download it again");
  }
  return size;
}

/// The value of the header's text, from its '{' on.
inline std::string_view header_root(std::string_view text, std::string const& file, leniency const& allowed) {
  auto const begin = allowed.leading_space ? skip_json_space(text, 0) : 0;
  if (begin == text.size() || text[begin] != '{')
    throw error{errc::header_not_object, "a header begins with '{'", {.file = file, .byte = 8 + begin}};
  return json_root(text.substr(begin), header_depth_limit, {.file = file}, 8 + begin);
}

/// All that a header's text says; `root` begins at byte `base` of the file.
inline header_contents read_contents(std::string_view root, std::uint64_t base, std::string const& file,
                                     leniency const& allowed) {
  header_contents out;
  auto const begin = header_scanner{root, out}.scan();
  if (begin == root.size()) return out;
  std::string rest{root.substr(begin)};
  rest[0] = '{';
  header_parser{rest, file, base + begin, allowed}.parse(out, static_cast<std::uint32_t>(begin));
  return out;
}

inline safetensors_header parse_header_text(std::string_view text, std::uint64_t file_size, std::string const& file,
                                            leniency const& allowed) {
  safetensors_header header;
  header.data_begin = 8 + text.size();
  auto const root = header_root(text, file, allowed);
  auto const base = 8 + static_cast<std::uint64_t>(root.data() - text.data());
  {
    auto contents = read_contents(root, base, file, allowed);
    check_names_differ(contents.tensors, contents.places, base, file);
    header.metadata = std::move(contents.metadata);
    header.tensors = std::move(contents.tensors);
  }
  for (auto& t : header.tensors) {
    t.begin += header.data_begin;
    t.end += header.data_begin;
  }
  auto const before = [](tensor_info const& a, tensor_info const& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  };
  if (!std::is_sorted(header.tensors.begin(), header.tensors.end(), before))
    std::stable_sort(header.tensors.begin(), header.tensors.end(), before);
  auto const end = check_tiling(header.tensors, {header.data_begin, file_size}, file);
  header.trailing_bytes = file_size - end;
  if (header.trailing_bytes > 0 && !allowed.trailing_data) {
    throw error{errc::trailing_data,
                std::to_string(header.trailing_bytes) + " bytes after the last tensor belong to none",
                {.file = file, .byte = end}};
  }
  return header;
}

}  // namespace detail

/// Parses the header of a file of `file_size` bytes whose first bytes are `start` (at least 8 + header, or all of it).
/// Strict: what the format forbids is an error, and so is what only some readers accept (duplicate names, NUL in a name, unknown
/// fields), unless `allowed` lets it pass. Time is linear in the header's size, memory at most ten times it: two to
/// five times for tensors, nine for metadata of the shortest keys.
/// Throws the codes of `errc` from `too_short` to `trailing_data` and those of JSON, each with the byte and the place in the JSON
/// text.
inline safetensors_header parse_safetensors_header(std::span<std::byte const> start, std::uint64_t file_size,
                                                   std::string const& file, leniency const& allowed = {}) {
  std::string_view const text{reinterpret_cast<char const*>(start.data()), start.size()};
  auto const size = detail::header_text_bytes(text.substr(0, header_probe_bytes), file_size, file);
  if (text.size() - 8 < size) throw error{errc::header_past_end, "the header is cut", {.file = file, .byte = text.size()}};
  return detail::parse_header_text(text.substr(8, static_cast<std::size_t>(size)), file_size, file, allowed);
}

/// The same for a file of `size` bytes that is read by `read(offset, span)`, which fills the span or throws. Only the header is
/// read, and no more is allocated than the file has.
template <class Read>
safetensors_header read_safetensors_header(Read&& read, std::uint64_t size, std::string const& file,
                                           leniency const& allowed = {}) {
  std::byte probe[header_probe_bytes];
  std::span const start{probe, static_cast<std::size_t>(std::min<std::uint64_t>(size, header_probe_bytes))};
  if (!start.empty()) read(std::uint64_t{0}, start);
  auto const bytes = static_cast<std::size_t>(
      detail::header_text_bytes({reinterpret_cast<char const*>(start.data()), start.size()}, size, file));
  auto const text = std::make_unique_for_overwrite<std::byte[]>(bytes);
  read(std::uint64_t{8}, std::span{text.get(), bytes});
  return detail::parse_header_text({reinterpret_cast<char const*>(text.get()), bytes}, size, file, allowed);
}

CULL_NAMESPACE_END
