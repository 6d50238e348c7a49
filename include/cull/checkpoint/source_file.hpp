// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

[[noreturn]] inline void throw_errno(std::string const& what, std::filesystem::path const& path, int number = errno) {
  auto const code = number == ENOENT                     ? errc::not_found
                    : number == EEXIST                   ? errc::already_exists
                    : number == ELOOP || number == ENXIO ? errc::not_regular
                                                         : errc::io;
  throw error{code, what + ": " + std::strerror(number), {.file = path.string()}};
}

/// A file descriptor that is closed at the end of its scope.
class descriptor {
 public:
  explicit descriptor(int fd = -1) : fd_(fd) {}
  descriptor(descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  descriptor& operator=(descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

/// What tells one state of a file from another.
struct file_identity {
  std::uint64_t device = 0, inode = 0, size = 0;
  std::int64_t seconds = 0, nanoseconds = 0;  ///< of its last modification

  friend bool operator==(file_identity const&, file_identity const&) = default;
};

inline file_identity identity_of(struct stat const& status) {
  return {static_cast<std::uint64_t>(status.st_dev), static_cast<std::uint64_t>(status.st_ino),
          static_cast<std::uint64_t>(status.st_size), status.st_mtim.tv_sec, status.st_mtim.tv_nsec};
}

}  // namespace detail

/// A regular file to read from, without a mapping: one that shrinks is an error, not a signal.
class source_file {
 public:
  /// A pipe, device, directory or endless link is refused instead of waited for.
  /// Throws `errc::not_found`, `errc::not_regular`, `errc::io`.
  explicit source_file(std::filesystem::path path)
      : path_(std::move(path)), fd_(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (fd_.get() < 0) detail::throw_errno("cannot be opened for reading", path_);
    struct stat status {};
    if (::fstat(fd_.get(), &status) != 0) detail::throw_errno("cannot be examined", path_);
    if (!S_ISREG(status.st_mode)) throw error{errc::not_regular, "is not a regular file", {.file = path_.string()}};
    identity_ = detail::identity_of(status);
  }

  std::filesystem::path const& path() const { return path_; }
  std::uint64_t size() const { return identity_.size; }
  detail::file_identity const& identity() const { return identity_; }
  int handle() const { return fd_.get(); }

  /// Fills `to` from byte `from` on. Throws `errc::source_changed` where the file ends before, `errc::io`.
  void read(std::uint64_t from, std::span<std::byte> to) const {
    while (!to.empty()) {
      auto const got =
          ::pread(fd_.get(), to.data(), std::min<std::size_t>(to.size(), std::size_t{1} << 30), static_cast<off_t>(from));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) detail::throw_errno("cannot be read", path_);
      if (got == 0)
        throw error{errc::source_changed, "ends here; it was longer when it was opened", {.file = path_.string(), .byte = from}};
      from += static_cast<std::uint64_t>(got);
      to = to.subspan(static_cast<std::size_t>(got));
    }
  }

 private:
  std::filesystem::path path_;
  detail::descriptor fd_;
  detail::file_identity identity_;
};

namespace detail {

/// Most bytes of a JSON file: the index of a million tensors has a tenth of it.
inline constexpr std::uint64_t max_text_bytes = std::uint64_t{1} << 30;

/// What git keeps in the place of a large file until it is downloaded.
constexpr bool is_lfs_pointer(std::string_view text) { return text.starts_with("version https://git-lfs"); }

/// Whether a file that is not read otherwise is such a pointer.
inline bool holds_lfs_pointer(std::filesystem::path const& path) {
  source_file const file{path};
  constexpr std::uint64_t most = 1024;  // of a pointer, as its specification says
  if (file.size() >= most) return false;
  std::string text(static_cast<std::size_t>(file.size()), '\0');
  file.read(0, std::as_writable_bytes(std::span{text}));
  return is_lfs_pointer(text);
}

/// A whole text file of JSON. Throws what `source_file` throws, `errc::out_of_range`, `errc::json_syntax` (a git-lfs pointer).
inline std::string read_text(std::filesystem::path const& path) {
  source_file const file{path};
  if (file.size() > max_text_bytes) {
    throw error{errc::out_of_range,
                "has " + std::to_string(file.size()) + " bytes; a text file of a model has less",
                {.file = path.string()}};
  }
  std::string out(static_cast<std::size_t>(file.size()), '\0');
  file.read(0, std::as_writable_bytes(std::span{out}));
  if (is_lfs_pointer(out))
    throw error{errc::json_syntax, "is a git-lfs pointer: run 'git lfs pull'", {.file = path.string(), .byte = 0}};
  return out;
}

}  // namespace detail

CULL_NAMESPACE_END
