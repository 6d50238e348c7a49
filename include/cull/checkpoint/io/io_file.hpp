// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <utility>

#include <cull/checkpoint/io/io.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

[[noreturn]] inline void throw_io(int number, std::string const& what, std::filesystem::path const& path) {
  bool const full = number == ENOSPC || number == EDQUOT || number == EFBIG;
  auto const code = number == ENOENT   ? errc::not_found
                    : number == EEXIST ? errc::already_exists
                    : full             ? errc::no_space
                                       : errc::io;
  throw error{code, what + ": " + std::strerror(number), {.file = path.string()}};
}

/// Does `call` again as long as a signal interrupts it.
template <class Call>
io_result uninterrupted(Call&& call) {
  for (;;) {
    auto const result = call();
    if (result.error != EINTR) return result;
  }
}

/// An open file of an `Io`, closed at the end of its scope. Moves all bytes that are asked for, however the operations split
/// them.
template <checkpoint_io Io>
class io_file {
 public:
  /// Takes over a handle; throws where opening it failed, saying `what`.
  io_file(Io& io, io_result opened, std::filesystem::path path, char const* what)
      : io_(&io), file_(static_cast<int>(opened.value)), path_(std::move(path)) {
    if (opened.error != 0) throw_io(opened.error, what, path_);
  }
  io_file(io_file&& other) noexcept : io_(other.io_), file_(std::exchange(other.file_, -1)), path_(std::move(other.path_)) {}
  io_file& operator=(io_file&& other) noexcept {
    std::swap(io_, other.io_);
    std::swap(file_, other.file_);
    std::swap(path_, other.path_);
    return *this;
  }
  ~io_file() {
    if (file_ >= 0) io_->close(file_);
  }

  int handle() const { return file_; }
  std::filesystem::path const& path() const { return path_; }

  /// Throws `errc::source_changed` where the file ends before.
  void read(std::uint64_t from, std::span<std::byte> to) const {
    while (!to.empty()) {
      auto const got = uninterrupted([&] { return io_->read({file_, from}, to); });
      if (got.error != 0) throw_io(got.error, "cannot be read", path_);
      if (got.value == 0)
        throw error{errc::source_changed, "ends here; it was longer when it was opened", {.file = path_.string(), .byte = from}};
      from += static_cast<std::uint64_t>(got.value);
      to = to.subspan(static_cast<std::size_t>(got.value));
    }
  }
  void write(std::uint64_t to, std::span<std::byte const> bytes) const {
    while (!bytes.empty()) {
      auto const put = uninterrupted([&] { return io_->write({file_, to}, bytes); });
      // A write of nothing would be repeated for ever.
      if (put.error != 0 || put.value == 0) throw_io(put.error != 0 ? put.error : EIO, "cannot be written", path_);
      to += static_cast<std::uint64_t>(put.value);
      bytes = bytes.subspan(static_cast<std::size_t>(put.value));
    }
  }
  file_status examine() const {
    file_status status;
    auto const result = uninterrupted([&] { return io_->examine(file_, status); });
    if (result.error != 0) throw_io(result.error, "cannot be examined", path_);
    return status;
  }
  /// Not repeated after an error: the system may have dropped the data that it could not write.
  void sync() const {
    if (auto const result = io_->sync(file_); result.error != 0) throw_io(result.error, "cannot be synchronised to disk", path_);
  }
  /// A close that was interrupted has closed.
  void close() {
    auto const result = io_->close(std::exchange(file_, -1));
    if (result.error != 0 && result.error != EINTR) throw_io(result.error, "cannot be closed", path_);
  }

 private:
  Io* io_;
  int file_;
  std::filesystem::path path_;
};

/// The state of what has a name.
template <checkpoint_io Io>
file_status examine(Io& io, std::filesystem::path const& path) {
  file_status status;
  auto const result = uninterrupted([&] { return io.examine(path, status); });
  if (result.error != 0) throw_io(result.error, "cannot be examined", path);
  return status;
}
/// True where the name is free.
template <checkpoint_io Io>
bool is_absent(Io& io, std::filesystem::path const& path) {
  file_status status;
  auto const result = uninterrupted([&] { return io.examine(path, status); });
  if (result.error != 0 && result.error != ENOENT) throw_io(result.error, "cannot be examined", path);
  return result.error == ENOENT;
}

/// Makes the names in a directory durable.
template <checkpoint_io Io>
void sync_directory(Io& io, std::filesystem::path const& dir) {
  if (auto const result = io.sync_directory(dir); result.error != 0)
    throw_io(result.error, "cannot be synchronised to disk", dir);
}

}  // namespace detail
CULL_NAMESPACE_END
