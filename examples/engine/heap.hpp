// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <cstdint>

namespace engine {

/// Bytes that a program has on its heap, for one that counts them: its `operator new` and `operator delete` say so here, from any
/// thread (`program::heap()` does).
class heap_counter {
 public:
  /// `bytes` more, or less where it is negative.
  void change(std::int64_t bytes) noexcept {
    auto const now = live_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    auto most = most_.load(std::memory_order_relaxed);
    while (now > most && !most_.compare_exchange_weak(most, now, std::memory_order_relaxed)) {
    }
  }
  /// Most at a time since `begin`.
  std::int64_t most() const noexcept { return most_.load(std::memory_order_relaxed); }
  /// Forgets what there was at most; returns what there is.
  std::int64_t begin() noexcept {
    auto const now = live_.load(std::memory_order_relaxed);
    most_.store(now, std::memory_order_relaxed);
    return now;
  }

 private:
  std::atomic<std::int64_t> live_{0}, most_{0};
};

/// How far a heap rises above what it was when this was made; one at a time.
class heap_rise {
 public:
  explicit heap_rise(heap_counter* of) : of_(of), before_(of != nullptr ? of->begin() : 0) {}
  /// In bytes; 0 where nobody counts.
  std::int64_t most() const { return of_ != nullptr ? of_->most() - before_ : 0; }

 private:
  heap_counter* of_;
  std::int64_t before_;
};

}  // namespace engine
