// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include <cull/cpu/isa.hpp>
#include <cull/executor.hpp>

CULL_NAMESPACE_BEGIN

/// Executor: this machine's processor, with up to `threads` threads per call (0: as many as the machine has) and its best
/// kernels, or those up to `limit`. No result depends on the number of threads. f32 products have the same bits from `isa::avx2`
/// on.
struct on_cpu {
  using memory_space = host_memory;

  int threads = 1;
  isa limit = isa::avx512_bf16;

  int thread_count() const {
    if (threads > 0) return threads;
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }
  /// The kernels in use.
  isa level() const { return std::min(limit, best_isa()); }
};

/// Calls `body(i)` for every i in [0, size), each once, in no promised order. Rethrows the first exception after all have
/// stopped.
template <class Body>
void for_each_index(on_cpu const& exec, std::int64_t size, Body&& body) {
  auto const workers = static_cast<int>(std::min<std::int64_t>(exec.thread_count(), size));
  if (workers <= 1) {
    for (std::int64_t i = 0; i < size; ++i) body(i);
    return;
  }
  std::atomic<std::int64_t> next{0};
  std::exception_ptr failure;
  std::mutex failure_lock;
  auto const work = [&] {
    try {
      for (auto i = next.fetch_add(1); i < size; i = next.fetch_add(1)) body(i);
    } catch (...) {
      std::scoped_lock const lock{failure_lock};
      if (!failure) failure = std::current_exception();
      next.store(size);
    }
  };
  {
    std::vector<std::jthread> pool;
    for (int t = 1; t < workers; ++t) pool.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
}

CULL_NAMESPACE_END
