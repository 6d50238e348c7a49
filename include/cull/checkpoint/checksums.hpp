// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <cull/checkpoint/added_files.hpp>
#include <cull/checkpoint/compare_files.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/checkpoint/side_by_side.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// A digest of bytes that come piece by piece, as hexadecimal digits.
template <class H>
concept byte_hash = std::default_initializable<H> && requires(H& hash, std::span<std::byte const> bytes) {
  hash.append(bytes);
  { hash.hex() } -> std::convertible_to<std::string>;
};

/// How digests of a checkpoint's files are worked out.
struct checksum_options {
  std::function<bool()> cancelled = {};  ///< asked after each MiB; from any thread
  int threads = 0;                       ///< files read side by side; 0: up to 4, as the machine has
};

namespace detail {

template <byte_hash Hash>
std::string file_checksum(std::filesystem::path const& path, checksum_options const& options) {
  plain_file const in{path};
  std::vector<char> block(std::size_t{1} << 20);
  Hash hash;
  auto const size = in.size();
  for (std::uint64_t at = 0; at < size; at += block.size()) {
    if (options.cancelled && options.cancelled()) throw error{errc::cancelled, "stopped on request"};
    auto const part = std::span{block}.first(static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), size - at)));
    in.read(at, part);
    hash.append(std::as_bytes(part));
  }
  return hash.hex();
}

}  // namespace detail

/// A line "digest  name" for every file that the manifest of a complete checkpoint lists, ascending by name: what `sha256sum -c`
/// and its kin read. Left out are the manifest and files of checksums, which hold each other's digests.
/// Throws `errc::not_found`, `errc::io`, `errc::cancelled`.
template <byte_hash Hash>
std::string checksum_lines(std::filesystem::path const& dir, checksum_options const& options = {}) {
  auto const manifest = detail::read_manifest(dir);
  std::vector<std::string> names, lines;
  for (auto const& [name, entry] : manifest.at("files").items()) {
    if (!detail::is_checksum_file(name)) names.push_back(name);
  }
  lines.resize(names.size());
  std::vector<std::exception_ptr> problems(names.size());
  std::atomic<std::size_t> next{0};
  detail::side_by_side(std::min(names.size(), detail::threads_or_default(options.threads)), [&] {
    for (std::size_t i = next++; i < names.size(); i = next++) {
      try {
        lines[i] = detail::file_checksum<Hash>(dir / names[i], options) + "  " + names[i] + "\n";
      } catch (...) {
        problems[i] = std::current_exception();
      }
    }
  });
  std::string out;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (problems[i]) std::rethrow_exception(problems[i]);
    out += lines[i];
  }
  return out;
}

/// Adds such a file to a checkpoint, or makes it anew. Throws what `checksum_lines` and `add_files` throw.
template <byte_hash Hash>
void add_checksums(std::filesystem::path const& dir, checksum_options const& options = {}) {
  add_files(dir, {{sha256_file_name, checksum_lines<Hash>(dir, options)}});
}

CULL_NAMESPACE_END
