// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <cull/checkpoint/mapped_file.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// What happens where the destination exists.
enum class overwrite { no, yes };

namespace detail {

/// Makes a directory's entries durable.
inline void sync_directory(std::filesystem::path const& dir) {
  descriptor const fd{::open(dir.empty() ? "." : dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
  if (fd.get() < 0 || ::fsync(fd.get()) != 0) throw_errno("cannot be synchronised to disk", dir);
}

}  // namespace detail

/// A file that appears whole or not at all: written beside its name, made durable, then renamed. What is not published is
/// removed.
class output_file {
 public:
  /// Throws `errc::already_exists` (with `overwrite::no`), `errc::io`, `errc::not_found` (the directory is missing).
  explicit output_file(std::filesystem::path path, overwrite policy = overwrite::no)
      : path_(std::move(path)), partial_(path_.parent_path() / ("." + path_.filename().string() + ".partial")), policy_(policy) {
    if (policy_ == overwrite::no && std::filesystem::exists(std::filesystem::symlink_status(path_))) {
      throw error{errc::already_exists, "exists; remove it or choose another name", {.file = path_.string()}};
    }
    // A partial file of an interrupted run holds nothing of value.
    fd_ = detail::descriptor{::open(partial_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666)};
    if (fd_.get() < 0) detail::throw_errno("cannot be created", path_);
  }
  output_file(output_file const&) = delete;
  output_file& operator=(output_file const&) = delete;
  ~output_file() {
    if (!published_) ::unlink(partial_.c_str());
  }

  /// Reserves space, so that a full disk is known at once. Throws `errc::io`.
  void reserve(std::uint64_t size) {
    if (size == 0) return;
    int const result = ::posix_fallocate(fd_.get(), 0, static_cast<off_t>(size));
    // File systems that cannot reserve are no reason to stop.
    if (result != 0 && result != EINVAL && result != EOPNOTSUPP)
      detail::throw_errno("no room for " + std::to_string(size) + " bytes", path_, result);
  }

  void write(std::span<std::byte const> bytes) {
    while (!bytes.empty()) {
      auto const written = ::write(fd_.get(), bytes.data(), std::min<std::size_t>(bytes.size(), std::size_t{8} << 20));
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) detail::throw_errno("cannot be written", path_, written < 0 ? errno : ENOSPC);
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    }
  }
  void write(std::string_view text) { write(std::as_bytes(std::span{text})); }

  /// Makes the file durable under its name. Throws `errc::io`; then nothing has appeared.
  void publish() {
    if (::fsync(fd_.get()) != 0) detail::throw_errno("cannot be synchronised to disk", path_);
    if (::close(fd_.release()) != 0) detail::throw_errno("cannot be closed", path_);
    if (policy_ == overwrite::no && ::access(path_.c_str(), F_OK) == 0) {
      throw error{errc::already_exists, "has appeared while it was written", {.file = path_.string()}};
    }
    if (::rename(partial_.c_str(), path_.c_str()) != 0) detail::throw_errno("cannot be renamed into place", path_);
    published_ = true;
    detail::sync_directory(path_.parent_path());
  }

 private:
  std::filesystem::path path_;
  std::filesystem::path partial_;
  overwrite policy_;
  detail::descriptor fd_;
  bool published_ = false;
};

/// A small file at once, durable and whole.
inline void write_file(std::filesystem::path const& path, std::string_view text, overwrite policy = overwrite::no) {
  output_file out{path, policy};
  out.write(text);
  out.publish();
}

CULL_NAMESPACE_END
