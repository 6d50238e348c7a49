// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>

#include <cull/checkpoint/io/io.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// The operating system's files. Stateless.
class posix_io {
 public:
  using path = std::filesystem::path;

  io_result open_read(path const& p) const {
    // O_NONBLOCK: a pipe is refused below instead of waited for.
    int const fd = ::open(p.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat s {};
    if (fd < 0) return failed();
    if (::fstat(fd, &s) == 0 && S_ISREG(s.st_mode)) return {fd, 0};
    ::close(fd);
    return {-1, ENXIO};
  }
  io_result create(path const& p) const { return open(p, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW); }
  io_result open_log(path const& p) const { return open(p, O_RDWR | O_CREAT | O_NOFOLLOW); }
  io_result open_directory(path const& p) const { return open(p.empty() ? "." : p, O_RDONLY | O_DIRECTORY | O_NOFOLLOW); }

  io_result read(file_place from, std::span<std::byte> to) const {
    return of(::pread(from.file, to.data(), to.size(), static_cast<off_t>(from.byte)));
  }
  io_result write(file_place to, std::span<std::byte const> bytes) const {
    return of(::pwrite(to.file, bytes.data(), bytes.size(), static_cast<off_t>(to.byte)));
  }
  io_result share(file_place from, file_place to, std::uint64_t size) const {
    file_clone_range const range{from.file, from.byte, size, to.byte};
    return of(::ioctl(to.file, FICLONERANGE, &range));
  }
  io_result reserve(int file, std::uint64_t size) const {
    return {0, size == 0 ? 0 : ::posix_fallocate(file, 0, static_cast<off_t>(size))};
  }
  io_result start_writeback(file_place at, std::uint64_t size) const {
    return of(::sync_file_range(at.file, static_cast<off_t>(at.byte), static_cast<off_t>(size), SYNC_FILE_RANGE_WRITE));
  }
  io_result set_caching(int file, caching cache) const {
    int const flags = ::fcntl(file, F_GETFL);
    if (flags < 0) return failed();
    return of(::fcntl(file, F_SETFL, cache == caching::bypass ? flags | O_DIRECT : flags & ~O_DIRECT));
  }
  io_result sync(int file) const { return of(::fdatasync(file)); }
  io_result close(int file) const { return of(::close(file)); }
  io_result lock(int file) const { return of(::flock(file, LOCK_EX | LOCK_NB)); }

  io_result examine(int file, file_status& status) const {
    struct stat s {};
    return ::fstat(file, &s) == 0 ? put(s, status) : failed();
  }
  io_result examine(path const& p, file_status& status) const {
    struct stat s {};
    return ::stat(p.c_str(), &s) == 0 ? put(s, status) : failed();
  }

  io_result rename(path const& from, path const& to, overwrite policy) const {
    if (policy == overwrite::yes) return of(::rename(from.c_str(), to.c_str()));
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return {};
    if (errno != EINVAL && errno != ENOSYS) return failed();
    // File systems without it (some network ones): as near as they can.
    if (::faccessat(AT_FDCWD, to.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0) return {-1, EEXIST};
    return of(::rename(from.c_str(), to.c_str()));
  }
  io_result remove(path const& p) const { return of(::unlink(p.c_str())); }
  io_result make_directory(path const& p) const { return of(::mkdir(p.c_str(), 0777)); }
  io_result sync_directory(path const& p) const {
    auto const dir = open_directory(p);
    if (dir.error != 0) return dir;
    auto const result = of(::fsync(static_cast<int>(dir.value)));
    ::close(static_cast<int>(dir.value));
    return result;
  }
  io_result free_space(path const& p) const {
    struct statvfs s {};
    if (::statvfs(p.c_str(), &s) != 0) return failed();
    return {static_cast<std::int64_t>(s.f_bavail * s.f_frsize), 0};
  }

 private:
  static io_result failed() { return {-1, errno}; }
  static io_result of(std::int64_t value) { return value < 0 ? failed() : io_result{value, 0}; }
  static io_result open(path const& p, int flags) { return of(::open(p.c_str(), flags | O_CLOEXEC, 0666)); }
  static io_result put(struct stat const& s, file_status& to) {
    to = {S_ISREG(s.st_mode)   ? file_status::kind::regular
          : S_ISDIR(s.st_mode) ? file_status::kind::directory
                               : file_status::kind::other,
          static_cast<std::uint64_t>(s.st_size), s.st_mtim.tv_sec * std::int64_t{1'000'000'000} + s.st_mtim.tv_nsec,
          static_cast<std::uint64_t>(s.st_dev), static_cast<std::uint64_t>(s.st_ino)};
    return {};
  }
};

static_assert(checkpoint_io<posix_io>);

CULL_NAMESPACE_END
