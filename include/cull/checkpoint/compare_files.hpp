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
#include <memory>
#include <span>
#include <string>
#include <utility>

#include <cull/checkpoint/digest.hpp>
#include <cull/checkpoint/manifest.hpp>
#include <cull/checkpoint/source_file.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// A file that `verify` reads for itself: opened anew, by pread.
class plain_file {
 public:
  /// Throws `errc::not_found`, `errc::not_regular` (a pipe would be waited for), `errc::io`.
  explicit plain_file(std::filesystem::path const& path)
      : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (fd_.get() < 0) throw_errno("cannot be opened for reading", path);
    struct stat s {};
    if (::fstat(fd_.get(), &s) != 0) throw_errno("cannot be examined", path);
    if (!S_ISREG(s.st_mode)) throw error{errc::not_regular, "is not a regular file", {.file = path.string()}};
    size_ = static_cast<std::uint64_t>(s.st_size);
    // Twice as much is read ahead; where that cannot be, nothing is lost.
    ::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  }

  /// When it was opened.
  std::uint64_t size() const { return size_; }
  /// Throws `errc::io` where the file cannot be read or ends before.
  void read(std::uint64_t from, std::span<char> to) const {
    for (std::size_t done = 0; done < to.size();) {
      auto const got = ::pread(fd_.get(), to.data() + done, to.size() - done, static_cast<off_t>(from + done));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0)
        throw error{errc::io, got < 0 ? "cannot be read" : "ends here", {.file = path_.string(), .byte = from + done}};
      done += static_cast<std::size_t>(got);
    }
  }

 private:
  std::filesystem::path path_;
  descriptor fd_;
  std::uint64_t size_ = 0;
};

/// A whole small file. Throws what `plain_file` throws.
inline std::string slurp(std::filesystem::path const& path) {
  plain_file const in{path};
  std::string out(static_cast<std::size_t>(in.size()), '\0');
  in.read(0, out);
  return out;
}

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

/// Whether two files of any size hold the same bytes.
inline bool same_content(std::filesystem::path const& a, std::filesystem::path const& b) {
  plain_file const x{a}, y{b};
  if (x.size() != y.size()) return false;
  return file_comparison{}.first_difference({&x, 0}, {&y, 0}, x.size(), [](auto) {}) == x.size();
}

}  // namespace detail
CULL_NAMESPACE_END
