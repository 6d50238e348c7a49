// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/added_files.hpp>
#include <cull/checkpoint/byte_digest.hpp>
#include <cull/checkpoint/compare_files.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/checkpoint/side_by_side.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// How digests of a checkpoint's files are worked out.
struct checksum_options {
  std::map<std::string, std::string> known = {};  ///< by XXH128, as `apply_report::digests`: those files are not read
  std::function<bool()> cancelled = {};           ///< asked after each block; from any thread
  int threads = 0;                                ///< files read side by side; 0: up to 4, as the machine has
};

namespace detail {

inline std::string file_checksum(std::filesystem::path const& path, digest_maker const& make, checksum_options const& options) {
  plain_file const in{path};
  file_block block;
  auto const digest = make();
  auto const size = in.size();
  for (std::uint64_t at = 0; at < size; at += block.size) {
    if (options.cancelled && options.cancelled()) throw error{errc::cancelled, "stopped on request"};
    auto const part = static_cast<std::size_t>(std::min<std::uint64_t>(block.size, size - at));
    digest->append(std::as_bytes(block.read(in, at, part)));
  }
  return digest->hex();
}

/// A line as `sha256sum` writes it: a name with a backslash or a line's end has those escaped, and the line begins with one.
inline std::string checksum_line(std::string const& digest, std::string const& name) {
  std::string escaped;
  for (char const c : name) escaped += c == '\\' ? std::string{"\\\\"} : c == '\n' ? std::string{"\\n"} : std::string{c};
  return (escaped == name ? "" : "\\") + digest + "  " + escaped + "\n";
}

}  // namespace detail

/// A line "digest  name" for every file that the manifest of a complete checkpoint lists, ascending by name: what `sha256sum -c`
/// and its kin read. Left out are the manifest and files of checksums, which hold each other's digests.
/// Throws `errc::not_found`, `errc::io`, `errc::cancelled`.
inline std::string checksum_lines(std::filesystem::path const& dir, digest_maker const& make,
                                  checksum_options const& options = {}) {
  auto const manifest = detail::read_manifest(dir);
  std::vector<std::pair<std::string, std::string>> files;
  for (auto const& [name, entry] : manifest.at("files").items()) {
    if (!detail::is_checksum_file(name)) files.emplace_back(name, entry.at("xxh128").get<std::string>());
  }
  std::vector<std::string> lines(files.size());
  std::vector<std::exception_ptr> problems(files.size());
  std::atomic<std::size_t> next{0};
  detail::side_by_side(std::min(files.size(), detail::threads_or_default(options.threads)), [&] {
    for (std::size_t i = next++; i < files.size(); i = next++) {
      auto const& [name, xxh128] = files[i];
      try {
        auto const known = options.known.find(xxh128);
        auto const digest = known == options.known.end() ? detail::file_checksum(dir / name, make, options) : known->second;
        lines[i] = detail::checksum_line(digest, name);
      } catch (...) {
        problems[i] = std::current_exception();
      }
    }
  });
  std::string out;
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (problems[i]) std::rethrow_exception(problems[i]);
    out += lines[i];
  }
  return out;
}

/// Adds such a file to a checkpoint, or makes it anew. Throws what `checksum_lines` and `add_files` throw.
inline void add_checksums(std::filesystem::path const& dir, digest_maker const& make, checksum_options const& options = {}) {
  // When the source's own list has made way, so that it is among the files.
  add_made_files(dir, file_adder{{sha256_file_name}, [&](auto const& complete, auto const&) {
                    return std::vector<added_file>{{sha256_file_name, checksum_lines(complete, make, options)}};
                  }});
}

CULL_NAMESPACE_END
