// SPDX-License-Identifier: Apache-2.0
// One block of CUDA threads as fibers of one OS thread: barriers, and meetings of the lanes of a warp.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>

#include <cull/cuda/context.hpp>

#include "fiber.hpp"

namespace simt_test {

/// What the executor has found wrong with a body.
struct fault : std::runtime_error {
  using runtime_error::runtime_error;
};

/// Where a body calls its context. Lines of different headers differ, whatever their numbers.
struct source_line {
  char const* file = "";
  int line = 0;

  SIMT_UNWATCHED friend bool operator==(source_line a, source_line b) {
    return a.line == b.line && std::strcmp(a.file, b.file) == 0;
  }
  friend bool operator<(source_line a, source_line b) {
    int const files = std::strcmp(a.file, b.file);
    return files != 0 ? files < 0 : a.line < b.line;
  }
  std::string text() const { return file + (":" + std::to_string(line)); }
};

/// Why lanes meet; all lanes of a meeting must come for the same.
enum class meeting_kind : std::uint8_t { none, sync, shuffle, ballot, mma };

/// The lanes that a mask names, one value each. Two sets of values, so that a lane may come again before another has read.
struct meeting {
  std::uint32_t mask = 0;
  std::uint32_t arrived = 0;
  meeting_kind kind = meeting_kind::none;
  unsigned round = 0;
  alignas(16) unsigned char values[2][32][64];
};

/// What passes between lanes is ordered by their meeting, of which the thread sanitizer must not hear: it would take it for a
/// barrier.
SIMT_UNWATCHED inline void copy_unwatched(void* to, void const* from, std::size_t size) {
#if defined(SIMT_TSAN)
  for (std::size_t i = 0; i < size; ++i) static_cast<unsigned char*>(to)[i] = static_cast<unsigned char const*>(from)[i];
#else
  std::memcpy(to, from, size);
#endif
}

class thread_block {
 public:
  static constexpr std::size_t stack_size = 64 << 10;

  thread_block(cull::simt::grid_size grid, unsigned threads)
      : grid_(grid),
        size_(threads),
        stacks_(threads, stack_size),
        owned_threads_(new thread_state[threads]),
        owned_order_(new unsigned[threads]),
        owned_warps_(new warp_state[(threads + 31) / 32]),
        threads_(owned_threads_.get()),
        order_(owned_order_.get()),
        warps_(owned_warps_.get()) {
    for (unsigned t = 0; t < threads; ++t) order_[t] = t;
  }

  /// Runs `body` once per thread; threads take turns in an order drawn from `random`, or ascending without.
  SIMT_UNWATCHED void run(unsigned x, unsigned y, std::function<void()> const& body, std::mt19937_64* random) {
    x_ = x;
    y_ = y;
    body_ = &body;
    self() = this;
    live_ = size_;
    failure_ = nullptr;
    barrier_epoch_ = 0;
    for (unsigned w = 0; w < (size_ + 31) / 32; ++w) {
      warps_[w].used = 0;
      warps_[w].epoch = 0;
    }
    scheduler_.adopt_thread();
    for (unsigned t = 0; t < size_; ++t) {
      threads_[t].state = status::ready;
      threads_[t].stack.prepare(stacks_[t], stacks_.size(), &entry);
    }
    // Before all threads, and after all: apart, so that a thread that ends is not ordered before one that begins.
    memory_order_before_switch(&body_);
    while (live_ > 0) {
      if (random != nullptr) shuffle_order(*random);
      if (!run_ready()) open_barrier();
    }
    memory_order_after_switch(&live_);
    self() = nullptr;
  }

  static thread_block*& self() {
    static thread_local thread_block* running = nullptr;
    return running;
  }

  SIMT_UNWATCHED unsigned thread() const { return current_; }
  SIMT_UNWATCHED unsigned size() const { return size_; }
  SIMT_UNWATCHED unsigned x() const { return x_; }
  SIMT_UNWATCHED unsigned y() const { return y_; }
  SIMT_UNWATCHED cull::simt::grid_size grid() const { return grid_; }
  /// How many barriers the block has passed.
  SIMT_UNWATCHED unsigned barrier_epoch() const { return barrier_epoch_; }
  /// How many times memory of the current thread's warp has been ordered by `sync_warp`.
  SIMT_UNWATCHED unsigned warp_epoch() const { return warps_[current_ / 32].epoch; }

  SIMT_UNWATCHED void barrier(source_line line) {
    auto& self = threads_[current_];
    self.state = status::at_barrier;
    self.line = line;
    memory_order_before_switch(&barrier_epoch_);
    self.stack.switch_to(scheduler_);
    memory_order_after_switch(&barrier_epoch_);
  }

  /// Returns when all lanes of `mask` have come with their values.
  template <class T>
  SIMT_UNWATCHED meeting& meet(meeting_kind kind, std::uint32_t mask, T const& value, unsigned& round) {
    static_assert(sizeof(T) <= 64);
    unsigned const lane = current_ % 32;
    auto& warp = warps_[current_ / 32];
    mask &= existing_lanes();
    if (!((mask >> lane) & 1u)) throw fault{"a lane calls a warp operation that its own mask leaves out" + place()};
    auto& met = find(warp, mask);
    if (met.arrived == 0) met.kind = kind;
    if (met.kind != kind) throw fault{"lanes of one mask are at different warp operations" + place()};
    round = met.round % 2;
    copy_unwatched(met.values[round][lane], &value, sizeof(T));
    met.arrived |= 1u << lane;
    if (kind == meeting_kind::sync) memory_order_before_switch(&met);
    if (met.arrived == mask) {
      met.arrived = 0;
      ++met.round;
      if (kind == meeting_kind::sync) ++warp.epoch;
      release(met);
    } else {
      threads_[current_].state = status::at_meeting;
      threads_[current_].waits_for = &met;
      threads_[current_].stack.switch_to(scheduler_);
      threads_[current_].waits_for = nullptr;
    }
    if (kind == meeting_kind::sync) memory_order_after_switch(&met);
    return met;
  }

  SIMT_UNWATCHED std::string place() const {
    return " (block " + std::to_string(x_) + ", " + std::to_string(y_) + ", thread " + std::to_string(current_) + ")";
  }

 private:
  enum class status : std::uint8_t { ready, at_barrier, at_meeting, done };

  struct thread_state {
    fiber stack;
    status state = status::done;
    source_line line;
    meeting* waits_for = nullptr;
  };
  struct warp_state {
    static constexpr unsigned capacity = 8;
    meeting meetings[capacity];
    unsigned used = 0;
    unsigned epoch = 0;
  };

  SIMT_UNWATCHED static void entry() {
    auto& b = *self();
    fiber::arrived(b.scheduler_);
    memory_order_after_switch(&b.body_);
    try {
      (*b.body_)();
    } catch (...) {
      b.failure_ = std::current_exception();
    }
    memory_order_before_switch(&b.live_);
    auto& me = b.threads_[b.current_];
    me.state = status::done;
    --b.live_;
    me.stack.switch_to(b.scheduler_, true);
    std::abort();
  }

  SIMT_UNWATCHED void shuffle_order(std::mt19937_64& random) {
    for (unsigned i = size_; i > 1; --i) {
      auto const j = static_cast<unsigned>(random() % i);
      auto const kept = order_[i - 1];
      order_[i - 1] = order_[j];
      order_[j] = kept;
    }
  }

  SIMT_UNWATCHED bool run_ready() {
    bool moved = false;
    for (unsigned i = 0; i < size_; ++i) {
      auto& next = threads_[order_[i]];
      if (next.state != status::ready) continue;
      moved = true;
      current_ = order_[i];
      scheduler_.switch_to(next.stack);
      if (failure_) {
        self() = nullptr;
        std::rethrow_exception(failure_);
      }
    }
    return moved;
  }

  // Stricter than the hardware: a thread that has returned is missing at a barrier, and all must be at the same one.
  SIMT_UNWATCHED void open_barrier() {
    unsigned waiting = 0;
    for (unsigned t = 0; t < size_; ++t) waiting += threads_[t].state == status::at_barrier ? 1u : 0u;
    if (waiting != size_) {
      fail("threads diverge: " + std::to_string(waiting) + " of " + std::to_string(size_) + " are at a barrier, " +
           std::to_string(size_ - live_) + " have returned, the rest waits for lanes that do not come");
    }
    for (unsigned t = 1; t < size_; ++t) {
      if (!(threads_[t].line == threads_[0].line)) {
        fail("threads diverge: at the barriers of " + threads_[0].line.text() + " and " + threads_[t].line.text());
      }
    }
    ++barrier_epoch_;
    for (unsigned t = 0; t < size_; ++t) threads_[t].state = status::ready;
  }

  [[noreturn]] void fail(std::string const& what) {
    self() = nullptr;
    throw fault{what + " (block " + std::to_string(x_) + ", " + std::to_string(y_) + ")"};
  }

  SIMT_UNWATCHED std::uint32_t existing_lanes() const {
    unsigned const rest = size_ - (current_ & ~31u);
    return rest >= 32 ? 0xffffffffu : (1u << rest) - 1;
  }

  SIMT_UNWATCHED meeting& find(warp_state& warp, std::uint32_t mask) {
    for (unsigned i = 0; i < warp.used; ++i) {
      if (warp.meetings[i].mask == mask) return warp.meetings[i];
    }
    for (unsigned i = 0; i < warp.used; ++i) {
      if (warp.meetings[i].arrived == 0 && !awaited(warp.meetings[i])) return taken(warp.meetings[i], mask);
    }
    if (warp.used == warp_state::capacity) throw fault{"more masks under way in one warp than it can hold" + place()};
    return taken(warp.meetings[warp.used++], mask);
  }
  // Lanes of a finished meeting may not have read its values yet.
  SIMT_UNWATCHED bool awaited(meeting const& met) const {
    for (unsigned t = 0; t < size_; ++t) {
      if (threads_[t].waits_for == &met && threads_[t].state != status::done) return true;
    }
    return false;
  }
  SIMT_UNWATCHED static meeting& taken(meeting& met, std::uint32_t mask) {
    met.mask = mask;
    met.arrived = 0;
    return met;
  }

  SIMT_UNWATCHED void release(meeting& met) {
    for (unsigned t = current_ & ~31u; t < size_ && t < (current_ & ~31u) + 32; ++t) {
      if (threads_[t].state == status::at_meeting && threads_[t].waits_for == &met) threads_[t].state = status::ready;
    }
  }

  cull::simt::grid_size grid_;
  unsigned size_;
  stack_pool stacks_;
  std::unique_ptr<thread_state[]> owned_threads_;
  std::unique_ptr<unsigned[]> owned_order_;
  std::unique_ptr<warp_state[]> owned_warps_;
  // Members of the standard library are watched by the thread sanitizer; these are not.
  thread_state* threads_;
  unsigned* order_;
  warp_state* warps_;
  fiber scheduler_;
  std::function<void()> const* body_ = nullptr;
  std::exception_ptr failure_;
  unsigned current_ = 0;
  unsigned live_ = 0;
  unsigned x_ = 0;
  unsigned y_ = 0;
  unsigned barrier_epoch_ = 0;
};

}  // namespace simt_test
