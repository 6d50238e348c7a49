// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// One worker's share of a parallel loop: takes indices until none are left. Throws nothing; copyable, and valid until the pool's
/// call returns.
class pool_task {
 public:
  pool_task(void (*call)(void*), void* state) : call_(call), state_(state) {}
  void operator()() const noexcept { call_(state_); }

 private:
  void (*call_)(void*);
  void* state_;
};

/// Threads that wait between calls, started when first needed and joined at the end.
///
/// A call helps itself: its own thread works too and waits for those only that have taken a share, so calls from within a task
/// and from several threads at once neither deadlock nor start more threads than the largest call asked for. Who has nothing to
/// do yields for some fifty microseconds, which is what waking a thread takes, before it sleeps.
class thread_pool {
 public:
  thread_pool() = default;
  thread_pool(thread_pool const&) = delete;
  thread_pool& operator=(thread_pool const&) = delete;
  ~thread_pool() {
    {
      std::scoped_lock const hold{lock_};
      stopping_ = true;
      wanted_ = true;
    }
    wake_.notify_all();
    for (auto& thread : threads_) thread.join();
  }

  /// Calls `task()` here and on up to `workers - 1` other threads, as many as are free.
  void operator()(int workers, pool_task task) {
    if (workers <= 1) return task();
    job own{task, workers - 1, {}, {}};
    {
      std::scoped_lock const hold{lock_};
      grow(workers - 1);
      open_.push_back(&own);
      wanted_ = true;
    }
    for (int i = 1; i < workers; ++i) wake_.notify_one();
    task();
    std::unique_lock hold{lock_};
    if (own.invited > 0) close(own);
    look_out(hold, [&] { return own.running == 0; });
    own.done.wait(hold, [&] { return own.running == 0; });
  }

  /// The pool of executors that name none. Never more threads than the largest `on_cpu::threads` in use, less one.
  static thread_pool& shared() {
    static thread_pool pool;
    return pool;
  }

 private:
  struct job {
    pool_task task;
    int invited;
    std::atomic<int> running;
    std::condition_variable done;
  };

  /// Returns with the lock when `ready()`, or after as long as waking would take; lets go of it meanwhile.
  template <class Ready>
  static void look_out(std::unique_lock<std::mutex>& hold, Ready const& ready) {
    using clock = std::chrono::steady_clock;
    auto const last = clock::now() + std::chrono::microseconds{50};
    while (!ready() && clock::now() < last) {
      hold.unlock();
      while (!ready() && clock::now() < last) std::this_thread::yield();
      hold.lock();  // others that saw the same may have been faster
    }
  }

  void close(job& full) {
    std::erase(open_, &full);
    wanted_ = stopping_ || !open_.empty();
  }

  void grow(int threads) {
    try {
      while (static_cast<int>(threads_.size()) < threads) threads_.emplace_back([this] { work(); });
    } catch (std::system_error const&) {
      // The system gives no more: those there are do the work.
    }
  }

  void work() {
    std::unique_lock hold{lock_};
    for (;;) {
      look_out(hold, [&] { return wanted_.load(); });
      wake_.wait(hold, [&] { return wanted_.load(); });
      if (open_.empty()) return;
      job& taken = *open_.back();
      ++taken.running;
      if (--taken.invited == 0) close(taken);
      hold.unlock();
      taken.task();
      hold.lock();
      if (--taken.running == 0) taken.done.notify_one();
    }
  }

  std::mutex lock_;
  std::condition_variable wake_;
  std::vector<job*> open_;  // those that still invite, the innermost last
  std::vector<std::thread> threads_;
  bool stopping_ = false;
  std::atomic<bool> wanted_{false};  // stopping_ or some are open; written under the lock
};

/// Somebody's threads: any function object called as `pool(workers, task)` that calls `task()` at least once and at most
/// `workers` times, on whatever threads, and returns when those calls have. Refers to the object, which must outlive it; empty
/// means `thread_pool::shared()`.
class pool_ref {
 public:
  constexpr pool_ref() = default;
  template <class Pool>
  requires requires(Pool& pool, pool_task task) { pool(1, task); }
  constexpr pool_ref(Pool& pool)
      : pool_(&pool), run_([](void const* to, int workers, pool_task task) {
          (*const_cast<Pool*>(static_cast<Pool const*>(to)))(workers, task);  // `Pool` says itself whether it is const
        }) {}

  void operator()(int workers, pool_task task) const {
    if (run_ == nullptr) return thread_pool::shared()(workers, task);
    run_(pool_, workers, task);
  }

 private:
  void const* pool_ = nullptr;
  void (*run_)(void const*, int, pool_task) = nullptr;
};

CULL_NAMESPACE_END
