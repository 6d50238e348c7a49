// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <cull/checkpoint/io/io.hpp>
#include <cull/checkpoint/io/io_file.hpp>
#include <cull/checkpoint/io/posix_io.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// A file that appears whole or not at all: written beside its name, made durable, then renamed. What is not published is
/// removed. Permissions are the process's umask's.
template <checkpoint_io Io>
class output_file {
 public:
  /// Throws `errc::already_exists` (with `overwrite::no`, or where another process is writing it), `errc::io`,
  /// `errc::not_found` (the directory is missing).
  output_file(Io& io, std::filesystem::path path, overwrite policy = overwrite::no)
      : io_(io), path_(std::move(path)), partial_(partial_of(path_)), policy_(policy), file_(create(io, path_, policy)) {}
  output_file(output_file const&) = delete;
  output_file& operator=(output_file const&) = delete;
  ~output_file() {
    if (!renamed_) io_.remove(partial_);
  }

  static std::filesystem::path partial_of(std::filesystem::path const& path) {
    return path.parent_path() / ("." + path.filename().string() + ".partial");
  }

  /// Reserves space, so that a full disk is known at once. Throws `errc::no_space`, `errc::io`.
  void reserve(std::uint64_t size) {
    auto const result = detail::uninterrupted([&] { return io_.reserve(file_.handle(), size); });
    // File systems that cannot reserve are no reason to stop.
    if (result.error != 0 && result.error != EINVAL && result.error != EOPNOTSUPP)
      detail::throw_io(result.error, "no room for " + std::to_string(size) + " bytes", path_);
  }

  void write(std::span<std::byte const> bytes) {
    file_.write(end_, bytes);
    end_ += bytes.size();
  }
  void write(std::string_view text) { write(std::as_bytes(std::span{text})); }

  /// Takes `size` bytes at `from` by sharing their extents, for both ends at multiples of the file system's block; gives an error
  /// number, with nothing changed, where that cannot be.
  int share(file_place from, std::uint64_t size) {
    auto const result = io_.share(from, {file_.handle(), end_}, size);
    if (result.error == 0) end_ += size;
    return result.error;
  }

  std::uint64_t end() const { return end_; }
  int handle() const { return file_.handle(); }

  /// Makes the file durable under its name. Throws `errc::io`, `errc::already_exists` (it has appeared meanwhile); unless it is
  /// the directory that cannot be synchronised, nothing has appeared.
  void publish() {
    file_.sync();
    file_.close();
    auto const result = io_.rename(partial_, path_, policy_);
    if (result.error != 0) detail::throw_io(result.error, "cannot be renamed into place", path_);
    renamed_ = true;
    detail::sync_directory(io_, path_.parent_path());
  }

 private:
  static detail::io_file<Io> create(Io& io, std::filesystem::path const& path, overwrite policy) {
    if (policy == overwrite::no && !detail::is_absent(io, path))
      throw error{errc::already_exists, "exists; remove it or choose another name", {.file = path.string()}};
    auto const partial = partial_of(path);
    auto made = detail::uninterrupted([&] { return io.create(partial); });
    if (made.error == EEXIST) {
      discard(io, partial);
      made = detail::uninterrupted([&] { return io.create(partial); });
    }
    detail::io_file<Io> file{io, made, path, "cannot be created"};
    lock(io, file, partial);
    return file;
  }
  /// Removes what an interrupted run left, unless it is at work.
  static void discard(Io& io, std::filesystem::path const& partial) {
    detail::io_file<Io> const left{io, detail::uninterrupted([&] { return io.open_log(partial); }), partial, "cannot be opened"};
    lock(io, left, partial);
    if (auto const result = io.remove(partial); result.error != 0) detail::throw_io(result.error, "cannot be removed", partial);
  }
  /// File systems without locks have none; a lock on a file that has lost its name would protect nothing.
  static void lock(Io& io, detail::io_file<Io> const& file, std::filesystem::path const& partial) {
    bool const taken = detail::uninterrupted([&] { return io.lock(file.handle()); }).error == EWOULDBLOCK;
    if (!taken && detail::examine(io, partial).inode == file.examine().inode) return;
    throw error{errc::already_exists, "is being written by another process", {.file = partial.string()}};
  }

  Io& io_;
  std::filesystem::path path_;
  std::filesystem::path partial_;
  overwrite policy_;
  detail::io_file<Io> file_;
  std::uint64_t end_ = 0;
  bool renamed_ = false;
};

/// A small file at once, durable and whole.
template <checkpoint_io Io>
void write_file(Io& io, std::filesystem::path const& path, std::string_view text, overwrite policy = overwrite::no) {
  output_file<Io> out{io, path, policy};
  out.write(text);
  out.publish();
}
inline void write_file(std::filesystem::path const& path, std::string_view text, overwrite policy = overwrite::no) {
  posix_io io;
  write_file(io, path, text, policy);
}

CULL_NAMESPACE_END
