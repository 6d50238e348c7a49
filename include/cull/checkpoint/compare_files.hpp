// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include <cull/checkpoint/digest.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// Whole small files, by plain streams.
inline std::string slurp(std::filesystem::path const& path) {
  std::ifstream in{path, std::ios::binary};
  return {std::istreambuf_iterator<char>{in}, {}};
}

/// Size and digest of a file of any size.
inline written_file digest_of(std::filesystem::path const& path, std::string const& name) {
  std::ifstream in{path, std::ios::binary};
  std::vector<char> block(std::size_t{1} << 20);
  hasher hash;
  written_file out{name, 0, {}};
  while (in.read(block.data(), static_cast<std::streamsize>(block.size())) || in.gcount() > 0) {
    auto const part = static_cast<std::size_t>(in.gcount());
    hash.append(std::as_bytes(std::span{block}.first(part)));
    out.bytes += part;
  }
  out.xxh128 = hash.hex();
  return out;
}

/// A place in an open file.
struct stream_place {
  std::ifstream& file;
  std::uint64_t byte;
};

/// Place of the first of `size` bytes that differs, or `size`. Asks `cancelled` between blocks.
inline std::uint64_t first_difference(stream_place a, stream_place b, std::uint64_t size,
                                      std::function<bool()> const& cancelled) {
  std::vector<char> x(std::min<std::uint64_t>(size, 1 << 20)), y(x.size());
  for (auto* const place : {&a, &b}) {
    place->file.clear();
    place->file.seekg(static_cast<std::streamoff>(place->byte));
  }
  for (std::uint64_t done = 0; done < size;) {
    if (cancelled && cancelled()) throw error{errc::cancelled, "stopped on request"};
    auto const part = static_cast<std::streamsize>(std::min<std::uint64_t>(x.size(), size - done));
    if (!a.file.read(x.data(), part) || !b.file.read(y.data(), part)) return done;
    auto const end = x.begin() + part;
    if (auto const at = std::mismatch(x.begin(), end, y.begin()).first; at != end)
      return done + static_cast<std::uint64_t>(at - x.begin());
    done += static_cast<std::uint64_t>(part);
  }
  return size;
}

}  // namespace detail
CULL_NAMESPACE_END
