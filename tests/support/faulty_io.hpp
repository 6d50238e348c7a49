// SPDX-License-Identifier: Apache-2.0
// Files that fail: one operation of another `checkpoint_io` goes wrong as the test wishes.
#pragma once

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <utility>

#include <cull/checkpoint/io/io.hpp>

namespace test_support {

/// What happens to the chosen operation.
enum class fault_kind {
  error,    ///< it fails with an error number and does nothing
  death,    ///< it and all that follow fail and do nothing, as if the process had been killed before it
  partial,  ///< a read or write moves one byte
  nothing,  ///< a read or write moves none
  lie,      ///< a write says that it moved all and leaves out the last byte
};

struct fault {
  fault_kind kind = fault_kind::error;
  std::int64_t number = 0;  ///< counted from 1 over the operations that the fault can befall; 0: none
  int error = EIO;
  std::string only = {};  ///< name of the operations that count; empty: all
};

template <cull::checkpoint_io Base>
class faulty_io {
 public:
  using path = std::filesystem::path;
  explicit faulty_io(Base& base, fault what = {}) : base_(base), what_(std::move(what)) {}

  std::int64_t operations() const { return count_; }
  bool struck() const { return what_.number > 0 && count_ >= what_.number; }
  /// How often each operation was called.
  std::map<std::string, std::int64_t> const& calls() const { return calls_; }

  cull::io_result open_read(path const& p) {
    return whole("open_read", [&] { return base_.open_read(p); });
  }
  cull::io_result create(path const& p) {
    return whole("create", [&] { return base_.create(p); });
  }
  cull::io_result open_log(path const& p) {
    return whole("open_log", [&] { return base_.open_log(p); });
  }
  cull::io_result open_directory(path const& p) {
    return whole("open_directory", [&] { return base_.open_directory(p); });
  }
  cull::io_result read(cull::file_place at, std::span<std::byte> to) {
    return moving("read", to, [&](std::span<std::byte> part) { return base_.read(at, part); });
  }
  cull::io_result write(cull::file_place at, std::span<std::byte const> bytes) {
    return moving("write", bytes, [&](std::span<std::byte const> part) { return base_.write(at, part); });
  }
  cull::io_result share(cull::file_place a, cull::file_place b, std::uint64_t size) {
    return whole("share", [&] { return base_.share(a, b, size); });
  }
  cull::io_result reserve(int f, std::uint64_t size) {
    return whole("reserve", [&] { return base_.reserve(f, size); });
  }
  cull::io_result start_writeback(cull::file_place at, std::uint64_t size) {
    return whole("start_writeback", [&] { return base_.start_writeback(at, size); });
  }
  cull::io_result set_caching(int f, cull::caching c) {
    return whole("set_caching", [&] { return base_.set_caching(f, c); });
  }
  cull::io_result sync(int f) {
    return whole("sync", [&] { return base_.sync(f); });
  }
  /// A close that fails has closed, and so does a process that dies.
  cull::io_result close(int f) {
    auto const closed = base_.close(f);
    return whole("close", [&] { return closed; });
  }
  cull::io_result lock(int f) {
    return whole("lock", [&] { return base_.lock(f); });
  }
  cull::io_result examine(int f, cull::file_status& s) {
    return whole("examine", [&] { return base_.examine(f, s); });
  }
  cull::io_result examine(path const& p, cull::file_status& s) {
    return whole("examine", [&] { return base_.examine(p, s); });
  }
  cull::io_result rename(path const& a, path const& b, cull::overwrite o) {
    return whole("rename", [&] { return base_.rename(a, b, o); });
  }
  cull::io_result remove(path const& p) {
    return whole("remove", [&] { return base_.remove(p); });
  }
  cull::io_result make_directory(path const& p) {
    return whole("make_directory", [&] { return base_.make_directory(p); });
  }
  cull::io_result sync_directory(path const& p) {
    return whole("sync_directory", [&] { return base_.sync_directory(p); });
  }
  cull::io_result free_space(path const& p) {
    return whole("free_space", [&] { return base_.free_space(p); });
  }

 private:
  bool counts(std::string const& name) const {
    bool const moves = name == "read" || name == "write";
    if (!what_.only.empty() && name != what_.only) return false;
    if (what_.kind == fault_kind::lie) return name == "write";
    return moves || what_.kind == fault_kind::error || what_.kind == fault_kind::death;
  }
  bool strikes(std::string const& name) {
    ++calls_[name];
    if (!counts(name)) return false;
    ++count_;
    return count_ == what_.number || (what_.kind == fault_kind::death && struck());
  }
  template <class Call>
  cull::io_result whole(char const* name, Call&& call) {
    if (!strikes(name)) return call();
    return {-1, what_.error};
  }
  template <class Bytes, class Call>
  cull::io_result moving(char const* name, Bytes bytes, Call&& call) {
    if (!strikes(name)) return call(bytes);
    switch (what_.kind) {
      case fault_kind::partial:
        return call(bytes.first(std::min<std::size_t>(1, bytes.size())));
      case fault_kind::nothing:
        return {};
      case fault_kind::lie: {
        auto result = call(bytes.first(bytes.size() - 1));
        ++result.value;
        return result;
      }
      default:
        return {-1, what_.error};
    }
  }

  Base& base_;
  fault what_;
  std::int64_t count_ = 0;
  std::map<std::string, std::int64_t> calls_;
};

}  // namespace test_support
