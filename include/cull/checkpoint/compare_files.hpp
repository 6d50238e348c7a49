// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <span>
#include <string>
#include <utility>

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

/// A file that `verify` reads for itself: opened anew, by pread.
class plain_file {
 public:
  explicit plain_file(std::filesystem::path const& path)
      : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (fd_ < 0) throw error{errc::io, "cannot be opened for reading", {.file = path.string()}};
    // Twice as much is read ahead; where that cannot be, nothing is lost.
    ::posix_fadvise(fd_, 0, 0, POSIX_FADV_SEQUENTIAL);
  }
  plain_file(plain_file const&) = delete;
  plain_file& operator=(plain_file const&) = delete;
  ~plain_file() { ::close(fd_); }

  std::uint64_t size() const {
    struct stat s {};
    return ::fstat(fd_, &s) == 0 ? static_cast<std::uint64_t>(s.st_size) : 0;
  }
  /// Throws `errc::io` where the file cannot be read or ends before.
  void read(std::uint64_t from, std::span<char> to) const {
    for (std::size_t done = 0; done < to.size();) {
      auto const got = ::pread(fd_, to.data() + done, to.size() - done, static_cast<off_t>(from + done));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0)
        throw error{errc::io, got < 0 ? "cannot be read" : "ends here", {.file = path_.string(), .byte = from + done}};
      done += static_cast<std::size_t>(got);
    }
  }

 private:
  std::filesystem::path path_;
  int fd_;
};

/// A block of a file, at its place within a page of memory: copying to a few bytes behind the source's place in its page takes
/// four times as long on some processors (Zen 3).
class file_block {
 public:
  static constexpr std::size_t size = std::size_t{512} << 10;  // a call of less takes half as long again a byte

  std::span<char> read(plain_file const& file, std::uint64_t from, std::size_t count) {
    auto const to = std::span{bytes_->pages}.subspan(static_cast<std::size_t>(from % page), count);
    file.read(from, to);
    return to;
  }

 private:
  static constexpr std::size_t page = 4096;
  struct alignas(page) storage {
    std::array<char, size + page> pages;
  };
  std::unique_ptr<storage> bytes_ = std::make_unique<storage>();
};

/// Size and digest of a file of any size.
inline written_file digest_of(std::filesystem::path const& path, std::string const& name) {
  plain_file const in{path};
  file_block block;
  hasher hash;
  written_file out{name, in.size(), {}};
  for (std::uint64_t at = 0; at < out.bytes; at += block.size)
    hash.append(std::as_bytes(block.read(in, at, static_cast<std::size_t>(std::min<std::uint64_t>(block.size, out.bytes - at)))));
  out.xxh128 = hash.hex();
  return out;
}

/// Two blocks, to be compared a piece of files at a time; of each what the first level of the cache holds is digested and
/// compared before the next.
class file_comparison {
 public:
  /// Place of the first of `size` bytes that differs, or `size`; `seen` gets the bytes of `b`, piece by piece.
  template <class Seen>
  std::uint64_t first_difference(std::pair<plain_file const*, std::uint64_t> a, std::pair<plain_file const*, std::uint64_t> b,
                                 std::uint64_t size, Seen&& seen) {
    auto different = size;
    for (std::uint64_t done = 0; done < size;) {
      auto const part = static_cast<std::size_t>(std::min<std::uint64_t>(file_block::size, size - done));
      std::span<char const> const x = x_.read(*a.first, a.second + done, part), y = y_.read(*b.first, b.second + done, part);
      for (std::size_t at = 0; at < part; at += piece) {
        auto const mine = x.subspan(at, std::min(piece, part - at)), other = y.subspan(at, mine.size());
        seen(other);
        if (different == size && std::memcmp(mine.data(), other.data(), mine.size()) != 0) {
          auto const found = std::mismatch(mine.begin(), mine.end(), other.begin()).first - mine.begin();
          different = done + at + static_cast<std::uint64_t>(found);
        }
      }
      done += part;
    }
    return different;
  }

 private:
  static constexpr std::size_t piece = std::size_t{16} << 10;

  file_block x_, y_;
};

}  // namespace detail
CULL_NAMESPACE_END
