// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include <cull/config.hpp>
#include <cull/errc.hpp>
#include <cull/utf8.hpp>

CULL_NAMESPACE_BEGIN

/// Where it went wrong; every field is optional.
struct error_location {
  std::string file = {};
  std::string tensor = {};
  std::optional<std::uint64_t> byte = {};
  std::string json_pointer = {};  ///< place in a JSON text, as RFC 6901 writes it: "/model.norm.weight/shape/0"
};

/// Text from a file as a message may show it: control characters and what is no UTF-8 as "\x1b", characters that change the
/// direction or place of others as "\u202e"; cut where it is longer than `most` bytes.
inline std::string printable(std::string_view text, std::size_t most = 300) {
  std::string out;
  std::size_t at = 0;
  while (at < text.size() && out.size() < most) at += detail::append_printable(out, text.substr(at));
  if (at < text.size()) out += "... (" + std::to_string(text.size()) + " bytes)";
  return out;
}

/// The base of everything that cull throws.
class error : public std::runtime_error {
 public:
  error(errc code, std::string const& message, error_location where = {})
      : std::runtime_error(compose(message, where)), code_(code), where_(std::move(where)) {}

  errc code() const noexcept { return code_; }
  error_location const& where() const noexcept { return where_; }

 private:
  static std::string compose(std::string const& message, error_location const& where) {
    std::string out;
    if (!where.file.empty()) out += printable(where.file) + ": ";
    if (!where.tensor.empty()) out += "tensor '" + printable(where.tensor) + "': ";
    if (where.byte) out += "byte " + std::to_string(*where.byte) + ": ";
    if (!where.json_pointer.empty()) out += printable(where.json_pointer) + ": ";
    return out + printable(message, std::string_view::npos);
  }

  errc code_;
  error_location where_;
};

CULL_NAMESPACE_END
