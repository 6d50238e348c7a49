// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

[[noreturn]] inline void throw_errno(std::string const& what, std::filesystem::path const& path, int number = errno) {
  auto const code = number == ENOENT ? errc::not_found : number == EEXIST ? errc::already_exists : errc::io;
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

/// Opens a regular file for reading; a pipe or device is refused instead of waited for.
inline descriptor open_regular(std::filesystem::path const& path, struct stat* status) {
  descriptor fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (fd.get() < 0) throw_errno("cannot be opened for reading", path);
  if (::fstat(fd.get(), status) != 0) throw_errno("cannot be examined", path);
  if (!S_ISREG(status->st_mode)) throw error{errc::io, "is not a regular file", {.file = path.string()}};
  return fd;
}

}  // namespace detail

/// A whole file in memory, read-only, by mmap: pages come as they are touched.
class mapped_file {
 public:
  mapped_file() = default;
  /// Throws `errc::not_found`, `errc::io`.
  explicit mapped_file(std::filesystem::path const& path) {
    struct stat status {};
    auto const fd = detail::open_regular(path, &status);
    size_ = static_cast<std::size_t>(status.st_size);
    if (size_ == 0) return;
    data_ = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (data_ == MAP_FAILED) {
      data_ = nullptr;
      detail::throw_errno("cannot be mapped", path);
    }
  }
  mapped_file(mapped_file&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  mapped_file& operator=(mapped_file&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~mapped_file() {
    if (data_ != nullptr) ::munmap(data_, size_);
  }

  std::span<std::byte const> bytes() const { return {static_cast<std::byte const*>(data_), size_}; }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

namespace detail {

inline std::string read_text(std::filesystem::path const& path) {
  mapped_file const file{path};
  return {reinterpret_cast<char const*>(file.bytes().data()), file.bytes().size()};
}

}  // namespace detail

CULL_NAMESPACE_END
