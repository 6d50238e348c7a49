// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <cull/checkpoint/io/io.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// Files in memory, for tests and for callers without a disk: names without links, one clock tick per change. May be used by
/// several threads at once. A file that is removed or replaced lives on for those who have it open.
class memory_io {
 public:
  using path = std::filesystem::path;
  /// Also the free space that is reported; what lies beyond is refused with ENOSPC.
  explicit memory_io(std::uint64_t capacity = std::uint64_t{1} << 40) : capacity_(capacity) {}

  // What tests want to know and to do.
  void put(path const& p, std::string_view text) {
    std::lock_guard const guard{mutex_};
    for (auto at = key(p).parent_path(); !at.empty() && at != at.root_path(); at = at.parent_path()) add(at, node::directory);
    auto const file = add(key(p), node::regular);
    file->bytes.assign(reinterpret_cast<std::byte const*>(text.data()),
                       reinterpret_cast<std::byte const*>(text.data()) + text.size());
    file->modified = ++clock_;
  }
  std::optional<std::string> get(path const& p) const {
    std::lock_guard const guard{mutex_};
    auto const found = find(p);
    if (!found || found->type != node::regular) return std::nullopt;
    return std::string{reinterpret_cast<char const*>(found->bytes.data()), found->bytes.size()};
  }
  /// All files below a directory, by their path relative to it.
  std::map<std::string, std::string> tree(path const& dir) const {
    std::map<std::string, std::string> out;
    for (auto const& [name, file] : below(key(dir))) {
      if (file->type == node::regular)
        out[path{name}.lexically_relative(key(dir)).string()] = {reinterpret_cast<char const*>(file->bytes.data()),
                                                                 file->bytes.size()};
    }
    return out;
  }
  bool exists(path const& p) const {
    std::lock_guard const guard{mutex_};
    return find(p) != nullptr;
  }
  std::size_t open_handles() const {
    std::lock_guard const guard{mutex_};
    return handles_.size();
  }

  io_result open_read(path const& p) {
    std::lock_guard const guard{mutex_};
    auto const found = find(p);
    if (!found) return {-1, ENOENT};
    return found->type == node::regular ? opened(found) : io_result{-1, ENXIO};
  }
  io_result create(path const& p) {
    std::lock_guard const guard{mutex_};
    if (find(p)) return {-1, EEXIST};
    if (!find(key(p).parent_path())) return {-1, ENOENT};
    return opened(add(key(p), node::regular));
  }
  io_result open_log(path const& p) {
    {
      std::lock_guard const guard{mutex_};
      if (auto const found = find(p)) return opened(found);
    }
    return create(p);
  }
  io_result open_directory(path const& p) {
    std::lock_guard const guard{mutex_};
    auto const found = find(p);
    if (!found) return {-1, ENOENT};
    return found->type == node::directory ? opened(found) : io_result{-1, ENOTDIR};
  }

  io_result read(file_place from, std::span<std::byte> to) {
    std::lock_guard const guard{mutex_};
    auto const file = at(from.file);
    if (!file) return {-1, EBADF};
    if (from.byte >= file->bytes.size()) return {};
    auto const size = std::min<std::uint64_t>(to.size(), file->bytes.size() - from.byte);
    if (size > 0) std::memcpy(to.data(), file->bytes.data() + from.byte, static_cast<std::size_t>(size));
    return {static_cast<std::int64_t>(size), 0};
  }
  io_result write(file_place to, std::span<std::byte const> bytes) {
    std::lock_guard const guard{mutex_};
    auto const file = at(to.file);
    if (!file) return {-1, EBADF};
    if (bytes.empty()) return {};
    if (to.byte + bytes.size() > capacity_) return {-1, ENOSPC};
    if (file->bytes.size() < to.byte + bytes.size()) file->bytes.resize(static_cast<std::size_t>(to.byte) + bytes.size());
    std::memcpy(file->bytes.data() + to.byte, bytes.data(), bytes.size());
    file->modified = ++clock_;
    return {static_cast<std::int64_t>(bytes.size()), 0};
  }
  io_result share(file_place, file_place, std::uint64_t) { return {-1, EOPNOTSUPP}; }
  io_result reserve(int handle, std::uint64_t size) {
    std::lock_guard const guard{mutex_};
    auto const file = at(handle);
    if (!file) return {-1, EBADF};
    if (size > capacity_) return {-1, ENOSPC};
    if (file->bytes.size() < size) file->bytes.resize(static_cast<std::size_t>(size));
    return {};
  }
  io_result start_writeback(file_place, std::uint64_t) { return {}; }
  io_result set_caching(int, caching) { return {}; }
  io_result sync(int handle) {
    std::lock_guard const guard{mutex_};
    return at(handle) ? io_result{} : io_result{-1, EBADF};
  }
  io_result close(int handle) {
    std::lock_guard const guard{mutex_};
    auto const file = at(handle);
    if (!file) return {-1, EBADF};
    if (file->locked_by == handle) file->locked_by = -1;
    handles_.erase(handle);
    return {};
  }
  io_result lock(int handle) {
    std::lock_guard const guard{mutex_};
    auto const file = at(handle);
    if (!file) return {-1, EBADF};
    if (file->locked_by != -1 && file->locked_by != handle) return {-1, EWOULDBLOCK};
    file->locked_by = handle;
    return {};
  }

  io_result examine(int handle, file_status& status) {
    std::lock_guard const guard{mutex_};
    return report(at(handle), status, EBADF);
  }
  io_result examine(path const& p, file_status& status) {
    std::lock_guard const guard{mutex_};
    return report(find(p), status, ENOENT);
  }

  io_result rename(path const& from, path const& to, overwrite policy) {
    std::lock_guard const guard{mutex_};
    auto const a = key(from).string(), b = key(to).string();
    if (!names_.contains(a)) return {-1, ENOENT};
    if (policy == overwrite::no && names_.contains(b)) return {-1, EEXIST};
    std::vector<std::pair<std::string, std::shared_ptr<node>>> moved;
    for (auto at = names_.lower_bound(a); at != names_.end() && at->first.starts_with(a);) {
      bool const inside = at->first.size() == a.size() || at->first[a.size()] == '/';
      if (inside) moved.emplace_back(b + at->first.substr(a.size()), at->second);
      at = inside ? names_.erase(at) : std::next(at);
    }
    for (auto& [name, file] : moved) names_[name] = std::move(file);
    return {};
  }
  io_result remove(path const& p) {
    std::lock_guard const guard{mutex_};
    return names_.erase(key(p).string()) > 0 ? io_result{} : io_result{-1, ENOENT};
  }
  io_result make_directory(path const& p) {
    std::lock_guard const guard{mutex_};
    if (find(p)) return {-1, EEXIST};
    if (!find(key(p).parent_path())) return {-1, ENOENT};
    add(key(p), node::directory);
    return {};
  }
  io_result sync_directory(path const& p) {
    std::lock_guard const guard{mutex_};
    return find(p) ? io_result{} : io_result{-1, ENOENT};
  }
  io_result free_space(path const&) { return {static_cast<std::int64_t>(capacity_), 0}; }

 private:
  struct node {
    enum kind { regular, directory };
    kind type = regular;
    std::vector<std::byte> bytes = {};
    std::int64_t modified = 0;
    std::uint64_t inode = 0;
    int locked_by = -1;
  };

  static path key(path const& p) { return p.has_filename() ? p.lexically_normal() : p.parent_path().lexically_normal(); }
  std::shared_ptr<node> find(path const& p) const {
    auto const k = key(p);
    if (k.empty() || k == k.root_path() || k == ".") {
      static auto const root = std::make_shared<node>(node{node::directory});
      return root;
    }
    auto const found = names_.find(k.string());
    return found == names_.end() ? nullptr : found->second;
  }
  std::shared_ptr<node> add(path const& k, node::kind type) {
    auto& slot = names_[k.string()];
    if (!slot) slot = std::make_shared<node>(node{type, {}, ++clock_, ++inodes_});
    return slot;
  }
  std::vector<std::pair<std::string, std::shared_ptr<node>>> below(path const& dir) const {
    std::lock_guard const guard{mutex_};
    auto const prefix = dir.string() + "/";
    std::vector<std::pair<std::string, std::shared_ptr<node>>> out;
    for (auto at = names_.lower_bound(prefix); at != names_.end() && at->first.starts_with(prefix); ++at) out.push_back(*at);
    return out;
  }
  io_result opened(std::shared_ptr<node> file) {
    handles_.emplace(++last_handle_, std::move(file));
    return {last_handle_, 0};
  }
  std::shared_ptr<node> at(int handle) const {
    auto const found = handles_.find(handle);
    return found == handles_.end() ? nullptr : found->second;
  }
  static io_result report(std::shared_ptr<node> const& file, file_status& to, int otherwise) {
    if (!file) return {-1, otherwise};
    to = {file->type == node::regular ? file_status::kind::regular : file_status::kind::directory, file->bytes.size(),
          file->modified, 1, file->inode};
    return {};
  }

  mutable std::mutex mutex_;
  std::uint64_t capacity_;
  std::map<std::string, std::shared_ptr<node>> names_;
  std::map<int, std::shared_ptr<node>> handles_;
  int last_handle_ = 0;
  std::int64_t clock_ = 0;
  std::uint64_t inodes_ = 0;
};

static_assert(checkpoint_io<memory_io>);

CULL_NAMESPACE_END
