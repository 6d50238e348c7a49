// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// What happens where the destination exists.
enum class overwrite { no, yes };

/// Whether data go through the operating system's cache.
enum class caching { use, bypass };

/// Outcome of one operation: a number (handle, bytes moved, free bytes), or an error number of <cerrno>.
struct io_result {
  std::int64_t value = 0;
  int error = 0;
};

/// What tells one state of a file from another.
struct file_status {
  enum class kind { regular, directory, other };
  kind type = kind::other;
  std::uint64_t size = 0;
  std::int64_t modified = 0;  ///< nanoseconds
  std::uint64_t device = 0, inode = 0;
  friend bool operator==(file_status const&, file_status const&) = default;
};

/// A place in an open file.
struct file_place {
  int file = -1;
  std::uint64_t byte = 0;
};

/// The operations through which checkpoints are written and copied: one system call each, with its error number and nothing
/// retried, so that whoever uses them can be tested against every failure. Models: `posix_io`, `memory_io`.
///
/// `open_read` refuses what is no regular file (ENXIO) instead of waiting for it; `create` makes a new file to write (EEXIST),
/// `open_log` one to read and write that may exist; `open_directory` gives a handle to lock. `read` and `write` may move fewer
/// bytes than asked; `write` at a place, never at "the end". `sync` makes a file's data durable, `sync_directory` the names in a
/// directory. `rename` never follows links and, with `overwrite::no`, never replaces (EEXIST). `lock` does not wait
/// (EWOULDBLOCK). `share` lets two files share extents (EOPNOTSUPP where the file system cannot). `start_writeback` and
/// `set_caching` are advice. All but `close` leave handles open.
template <class Io>
concept checkpoint_io = requires(Io& io, std::filesystem::path const& path, int file, std::span<std::byte> in,
                                 std::span<std::byte const> out, file_place place, std::uint64_t size, file_status& status,
                                 overwrite policy, caching cache) {
  { io.open_read(path) } -> std::same_as<io_result>;
  { io.create(path) } -> std::same_as<io_result>;
  { io.open_log(path) } -> std::same_as<io_result>;
  { io.open_directory(path) } -> std::same_as<io_result>;
  { io.read(place, in) } -> std::same_as<io_result>;
  { io.write(place, out) } -> std::same_as<io_result>;
  { io.share(place, place, size) } -> std::same_as<io_result>;
  { io.reserve(file, size) } -> std::same_as<io_result>;
  { io.start_writeback(place, size) } -> std::same_as<io_result>;
  { io.set_caching(file, cache) } -> std::same_as<io_result>;
  { io.sync(file) } -> std::same_as<io_result>;
  { io.close(file) } -> std::same_as<io_result>;
  { io.lock(file) } -> std::same_as<io_result>;
  { io.examine(file, status) } -> std::same_as<io_result>;
  { io.examine(path, status) } -> std::same_as<io_result>;
  { io.rename(path, path, policy) } -> std::same_as<io_result>;
  { io.remove(path) } -> std::same_as<io_result>;
  { io.make_directory(path) } -> std::same_as<io_result>;
  { io.sync_directory(path) } -> std::same_as<io_result>;
  { io.free_space(path) } -> std::same_as<io_result>;
};

CULL_NAMESPACE_END
