// SPDX-License-Identifier: Apache-2.0
// Files in memory that remember what was done to them, and from it every state that a power failure may leave.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <cull/checkpoint/io/memory_io.hpp>

namespace test_support {

/// What a power failure makes of a change that was not made durable.
enum class fate { kept, lost, torn, zeroed };

/// One change: of a directory's names, or of a file's bytes.
struct recorded_change {
  enum class kind { add, remove, rename, write, resize };
  kind what;
  std::uint64_t inode = 0;   ///< that is named or written
  std::uint64_t parent = 0;  ///< whose names change
  std::string name = {}, to = {};
  std::uint64_t byte = 0;
  std::string bytes = {};
  bool directory = false;
  std::size_t made_at = 0, durable_at = SIZE_MAX;  ///< steps: changes and synchronisations count one each

  bool of_names() const { return what == kind::add || what == kind::remove || what == kind::rename; }
};

/// A `memory_io` whose writes move at most `most` bytes, so that there are many.
class recording_io : public cull::memory_io {
 public:
  explicit recording_io(std::size_t most) : most_(most) {}

  std::vector<recorded_change> const& changes() const { return changes_; }

  cull::io_result create(path const& p) {
    auto const made = memory_io::create(p);
    if (made.error == 0) note_new(p, handle_inode(static_cast<int>(made.value)), false);
    return made;
  }
  cull::io_result open_log(path const& p) {
    bool const there = exists(p);
    auto const opened = memory_io::open_log(p);
    if (opened.error == 0 && !there) note_new(p, handle_inode(static_cast<int>(opened.value)), false);
    return opened;
  }
  cull::io_result make_directory(path const& p) {
    auto const made = memory_io::make_directory(p);
    if (made.error == 0) note_new(p, inode(p), true);
    return made;
  }
  cull::io_result write(cull::file_place at, std::span<std::byte const> bytes) {
    bytes = bytes.first(std::min(bytes.size(), most_));
    auto const put = memory_io::write(at, bytes);
    if (put.error == 0) {
      note({.what = recorded_change::kind::write,
            .inode = handle_inode(at.file),
            .byte = at.byte,
            .bytes = {reinterpret_cast<char const*>(bytes.data()), bytes.size()}});
    }
    return put;
  }
  cull::io_result reserve(int f, std::uint64_t size) {
    note({.what = recorded_change::kind::resize, .inode = handle_inode(f), .byte = size});
    return memory_io::reserve(f, size);
  }
  cull::io_result sync(int f) {
    auto const synced = handle_inode(f);
    make_durable([&](recorded_change const& c) { return !c.of_names() && c.inode == synced; });
    return memory_io::sync(f);
  }
  cull::io_result rename(path const& from, path const& to, cull::overwrite o) {
    auto const moved = inode(from), parent = inode(from.parent_path());
    auto const result = memory_io::rename(from, to, o);
    if (result.error == 0) {
      note({.what = recorded_change::kind::rename,
            .inode = moved,
            .parent = parent,
            .name = from.filename().string(),
            .to = to.filename().string()});
    }
    return result;
  }
  cull::io_result remove(path const& p) {
    auto const parent = inode(p.parent_path());
    auto const result = memory_io::remove(p);
    if (result.error == 0) note({.what = recorded_change::kind::remove, .parent = parent, .name = p.filename().string()});
    return result;
  }
  cull::io_result sync_directory(path const& p) {
    auto const synced = inode(p);
    make_durable([&](recorded_change const& c) { return c.of_names() && c.parent == synced; });
    return memory_io::sync_directory(p);
  }

  std::size_t steps() const { return steps_; }
  /// Changes made by step `point` that nothing had made durable by then.
  std::vector<std::size_t> at_risk(std::size_t point) const {
    std::vector<std::size_t> out;
    for (std::size_t i = 0; i < changes_.size(); ++i) {
      if (changes_[i].made_at <= point && changes_[i].durable_at > point) out.push_back(i);
    }
    return out;
  }

  /// The files below the root after a power failure after step `point`, with fates of those at risk (the others are
  /// kept); directories end in '/'.
  std::map<std::string, std::string> after_crash(std::size_t point, std::map<std::size_t, fate> const& fates) const {
    crashed state;
    for (std::size_t i = 0; i < changes_.size() && changes_[i].made_at <= point; ++i) {
      auto const found = fates.find(i);
      state.apply(changes_[i], found == fates.end() ? fate::kept : found->second);
    }
    std::map<std::string, std::string> out;
    state.list(root_, "", out);
    return out;
  }

  /// Where the job works: names directly in it are the top of `after_crash`.
  void set_root(path const& p) { root_ = inode(p); }

 private:
  struct crashed {
    std::map<std::uint64_t, std::map<std::string, std::uint64_t>> names;  // of directories
    std::map<std::uint64_t, std::string> bytes;
    std::set<std::uint64_t> directories;

    void apply(recorded_change const& c, fate how) {
      using kind = recorded_change::kind;
      if (c.directory) directories.insert(c.inode);
      if (how == fate::lost) return;
      auto& entries = names[c.parent];
      switch (c.what) {
        case kind::add:
          entries[c.name] = c.inode;
          break;
        case kind::remove:
          entries.erase(c.name);
          break;
        case kind::rename:
          entries.erase(c.name);
          entries[c.to] = c.inode;
          break;
        case kind::resize:
          grow(bytes[c.inode], c.byte);
          break;
        case kind::write: {
          auto& file = bytes[c.inode];
          grow(file, c.byte + c.bytes.size());
          auto const size = how == fate::torn ? c.bytes.size() / 2 : c.bytes.size();
          for (std::size_t i = 0; i < size; ++i)
            file[static_cast<std::size_t>(c.byte) + i] = how == fate::zeroed ? '\0' : c.bytes[i];
        }
      }
    }
    static void grow(std::string& file, std::uint64_t size) {
      if (file.size() < size) file.resize(static_cast<std::size_t>(size));
    }
    void list(std::uint64_t dir, std::string const& at, std::map<std::string, std::string>& out) const {
      auto const found = names.find(dir);
      if (found == names.end()) return;
      for (auto const& [name, inode] : found->second) {
        if (directories.contains(inode)) {
          out[at + name + "/"];
          list(inode, at + name + "/", out);
        } else {
          auto const content = bytes.find(inode);
          out[at + name] = content == bytes.end() ? std::string{} : content->second;
        }
      }
    }
  };

  std::uint64_t inode(path const& p) {
    cull::file_status s;
    return examine(p, s).error == 0 ? s.inode : 0;
  }
  std::uint64_t handle_inode(int f) {
    cull::file_status s;
    return examine(f, s).error == 0 ? s.inode : 0;
  }
  void note_new(path const& p, std::uint64_t made, bool directory) {
    note({.what = recorded_change::kind::add,
          .inode = made,
          .parent = inode(p.parent_path()),
          .name = p.filename().string(),
          .directory = directory});
  }
  void note(recorded_change change) {
    change.made_at = ++steps_;
    changes_.push_back(std::move(change));
  }
  template <class Covers>
  void make_durable(Covers&& covers) {
    ++steps_;
    for (auto& c : changes_) {
      if (c.durable_at == SIZE_MAX && covers(c)) c.durable_at = steps_;
    }
  }

  std::size_t most_;
  std::uint64_t root_ = 0;
  std::size_t steps_ = 0;
  std::vector<recorded_change> changes_;
};

}  // namespace test_support
