// SPDX-License-Identifier: Apache-2.0
// Conflicting accesses that nothing orders, found in one run whatever order the threads took: two accesses to a byte, by
// different threads, not both reads and not both atomic, with no barrier of the block (or `sync_warp`, within a warp) between
// them. Blocks of a launch are never ordered.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>

#include "block.hpp"

namespace simt_test {

enum class access_kind : std::uint8_t { read, write, atomic };

class race_detector {
 public:
  /// Throws `fault` where this access races with an earlier one.
  SIMT_UNWATCHED void note(thread_block const& b, std::uintptr_t address, std::size_t bytes, access_kind kind) {
    access const now{b.y() * b.grid().x + b.x(), b.thread(), b.barrier_epoch(), b.warp_epoch(), true};
    std::scoped_lock const lock{mutex_};
    for (std::size_t i = 0; i < bytes; ++i) {
      auto& cell = cells_[address + i];
      if (cell.under_way) throw fault{"shared memory that an asynchronous copy has not filled yet is used" + b.place()};
      if (kind != access_kind::read) check(cell.read, now, b, "a read");
      if (kind != access_kind::read) check(cell.other_read, now, b, "a read");
      if (kind != access_kind::atomic) check(cell.atomic, now, b, "an atomic operation");
      check(cell.write, now, b, "a write");
      remember(cell, now, kind);
    }
  }

  /// Shared memory that an asynchronous copy fills from now on, until `end_copy`: nobody may use it.
  void begin_copy(std::uintptr_t address, std::size_t bytes) { set_under_way(address, bytes, true); }
  void end_copy(std::uintptr_t address, std::size_t bytes) { set_under_way(address, bytes, false); }

  /// A launch begins: it is ordered after all before it.
  void forget_all() {
    std::scoped_lock const lock{mutex_};
    cells_.clear();
  }

  /// The memory at `address` is another block's from now on.
  void forget(std::uintptr_t address, std::size_t bytes) {
    std::scoped_lock const lock{mutex_};
    for (std::size_t i = 0; i < bytes; ++i) cells_.erase(address + i);
  }

 private:
  struct access {
    unsigned block = 0;
    unsigned thread = 0;
    unsigned barrier = 0;
    unsigned warp = 0;
    bool any = false;
  };
  struct byte_history {
    access write, atomic, read, other_read;
    bool under_way = false;
  };

  void set_under_way(std::uintptr_t address, std::size_t bytes, bool under_way) {
    std::scoped_lock const lock{mutex_};
    for (std::size_t i = 0; i < bytes; ++i) cells_[address + i].under_way = under_way;
  }

  static bool ordered(access const& before, access const& now) {
    if (before.block != now.block) return false;
    if (before.thread == now.thread || before.barrier != now.barrier) return true;
    return before.thread / 32 == now.thread / 32 && before.warp != now.warp;
  }
  static void check(access const& before, access const& now, thread_block const& b, char const* what) {
    if (!before.any || ordered(before, now)) return;
    throw fault{std::string{"data race: this access and "} + what + " by thread " + std::to_string(before.thread) + " of block " +
                std::to_string(before.block) + b.place()};
  }
  // Of readers the last is kept, and the last of another thread: enough to catch a writer that is one of them.
  static void remember(byte_history& cell, access const& now, access_kind kind) {
    if (kind == access_kind::write) cell.write = now;
    if (kind == access_kind::atomic) cell.atomic = now;
    if (kind == access_kind::read) {
      if (cell.read.any && (cell.read.thread != now.thread || cell.read.block != now.block)) cell.other_read = cell.read;
      cell.read = now;
    }
  }

  std::mutex mutex_;
  std::unordered_map<std::uintptr_t, byte_history> cells_;
};

}  // namespace simt_test
