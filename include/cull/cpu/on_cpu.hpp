// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>

#include <cull/cpu/isa.hpp>
#include <cull/cpu/thread_pool.hpp>
#include <cull/executor.hpp>

CULL_NAMESPACE_BEGIN

/// Executor: this machine's processor, with up to `threads` threads per call (0: as many as the machine has) and its best
/// kernels, or those up to `limit`. No result depends on the number of threads. f32 products have the same bits from `isa::avx2`
/// on; bf16 products have bits of their own with `isa::avx512_bf16` and with `isa::amx_bf16`, of which the latter is faster but
/// for some four tokens and fewer. The threads are `pool`'s, cull's own where it names none: `on_cpu{.threads = 8, .pool =
/// mine}`, see `pool_ref`. Nothing here calls Eigen's products or OpenMP, so no other threads are started.
struct on_cpu {
  using memory_space = host_memory;

  int threads = 1;
  isa limit = isa::amx_bf16;
  pool_ref pool = {};

  int thread_count() const {
    if (threads > 0) return threads;
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }
  /// The kernels in use.
  isa level() const { return std::min(limit, best_isa()); }
  /// The same with one thread.
  on_cpu alone() const { return {1, limit, pool}; }
};

namespace detail {

/// Indices [0, size) handed out one by one to whoever asks; the first exception ends it.
template <class Body>
class index_loop {
 public:
  index_loop(std::int64_t size, Body& body) : size_(size), body_(body) {}

  pool_task task() {
    return {[](void* self) { static_cast<index_loop*>(self)->work(); }, this};
  }
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void work() noexcept {
    try {
      for (auto i = next_.fetch_add(1); i < size_; i = next_.fetch_add(1)) body_(i);
    } catch (...) {
      std::scoped_lock const hold{lock_};
      if (!failure_) failure_ = std::current_exception();
      next_.store(size_);
    }
  }

  std::int64_t size_;
  Body& body_;
  std::atomic<std::int64_t> next_{0};
  std::mutex lock_;
  std::exception_ptr failure_;
};

}  // namespace detail

/// Calls `body(i)` for every i in [0, size), each once, in no promised order; may be called from within a body. Rethrows the
/// first exception after all have stopped.
template <class Body>
void for_each_index(on_cpu const& exec, std::int64_t size, Body&& body) {
  auto const workers = static_cast<int>(std::min<std::int64_t>(exec.thread_count(), size));
  if (workers <= 1) {
    for (std::int64_t i = 0; i < size; ++i) body(i);
    return;
  }
  detail::index_loop loop{size, body};
  exec.pool(workers, loop.task());
  loop.rethrow();
}

CULL_NAMESPACE_END
