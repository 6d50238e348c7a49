// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// Bytes of the UTF-8 character at the start of `text`, or 0 where there is none: no overlong form, no surrogate, nothing beyond
/// U+10FFFF (Unicode 15, table 3-7).
constexpr std::size_t utf8_length(std::string_view text) {
  auto const byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  auto const within = [&](std::size_t i, unsigned low, unsigned high) { return byte(i) >= low && byte(i) <= high; };
  auto const first = byte(0);
  if (first < 0x80) return text.empty() ? 0 : 1;
  if (first < 0xc2 || first > 0xf4) return 0;
  if (first < 0xe0) return within(1, 0x80, 0xbf) ? 2 : 0;
  if (first < 0xf0) {
    return within(1, first == 0xe0 ? 0xa0 : 0x80, first == 0xed ? 0x9f : 0xbf) && within(2, 0x80, 0xbf) ? 3 : 0;
  }
  bool const start = within(1, first == 0xf0 ? 0x90 : 0x80, first == 0xf4 ? 0x8f : 0xbf);
  return start && within(2, 0x80, 0xbf) && within(3, 0x80, 0xbf) ? 4 : 0;
}

/// Where `text` stops being UTF-8, or npos.
inline std::size_t find_bad_utf8(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size()) {
    if (std::uint64_t eight = 0; text.size() - at >= 8) {
      std::memcpy(&eight, text.data() + at, 8);
      if ((eight & 0x8080808080808080u) == 0) {
        at += 8;
        continue;
      }
    }
    auto const length = utf8_length(text.substr(at, 4));
    if (length == 0) return at;
    at += length;
  }
  return std::string_view::npos;
}

/// Appends the first character of `text` so that no terminal obeys it; gives the bytes it took.
inline std::size_t append_printable(std::string& out, std::string_view text) {
  static constexpr char hex[] = "0123456789abcdef";
  auto const length = utf8_length(text.substr(0, 4));
  auto const first = static_cast<unsigned char>(text[0]);
  if (length == 0 || first < 0x20 || first == 0x7f) {
    out.append("\\x").append(1, hex[first >> 4]).append(1, hex[first & 15]);
    return 1;
  }
  std::uint32_t code = length == 1 ? first : first & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) code = (code << 6) | (static_cast<unsigned char>(text[i]) & 0x3fu);
  bool const obeyed = (code >= 0x80 && code < 0xa0) || (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202e) ||
                      (code >= 0x2060 && code <= 0x206f) || code == 0xfeff;
  if (!obeyed) {
    out += text.substr(0, length);
    return length;
  }
  out += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) out += hex[(code >> shift) & 15];
  return length;
}

}  // namespace detail
CULL_NAMESPACE_END
