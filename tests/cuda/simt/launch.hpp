// SPDX-License-Identifier: Apache-2.0
// Runs a body on the host: blocks over OS threads, threads of a block as fibers, orders by seed.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <mutex>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include <cull/cuda/context.hpp>

#include "executed.hpp"
#include "host_context.hpp"

namespace simt_test {

struct launch_options {
  std::uint64_t seed = 0;  ///< 0: threads and blocks in ascending order; else shuffled
  unsigned workers = 2;
  watchers watch = {};
};

/// A block's shared memory, poisoned before each: what a body reads before it has written is garbage, and an address beyond
/// faults.
template <class Shared>
class shared_memory {
 public:
  // Aligned as the hardware's, and no larger than asked for, so that the address sanitizer watches the end.
  shared_memory() { memory_ = std::aligned_alloc(128, (sizeof(Shared) + 127) / 128 * 128); }
  shared_memory(shared_memory const&) = delete;
  shared_memory& operator=(shared_memory const&) = delete;
  ~shared_memory() { std::free(memory_); }

  Shared& operator*() const { return *static_cast<Shared*>(memory_); }
  void poison() const { std::memset(memory_, 0xcb, sizeof(Shared)); }

 private:
  void* memory_;
};

/// The i-th block to run: every one once, in an order that depends on the seed.
inline std::vector<unsigned> block_order(unsigned count, std::uint64_t seed) {
  std::vector<unsigned> order(count);
  std::iota(order.begin(), order.end(), 0u);
  if (seed != 0) {
    std::mt19937_64 random{seed};
    for (unsigned i = count; i > 1; --i) std::swap(order[i - 1], order[random() % i]);
  }
  return order;
}

/// Runs `body` on every thread of `grid`; throws the first `fault` or whatever the body threw.
template <cull::simt::kernel_body Body, class... Arguments>
void launch(launch_options const& options, cull::simt::grid_size grid, Body const& body, Arguments... arguments) {
  executed_bodies::note<Body>();
  if (options.watch.races != nullptr) options.watch.races->forget_all();
  if (options.watch.trace != nullptr) options.watch.trace->begin_launch();
  auto const order = block_order(grid.x * grid.y, options.seed);
  std::atomic<unsigned> next{0};
  std::exception_ptr failure;
  std::mutex failure_mutex;
  auto const work = [&](unsigned worker) {
    try {
      thread_block fibers{grid, Body::threads};
      shared_memory<typename Body::Shared> shared;
      std::vector<thread_extras> extras(Body::threads);
      std::mt19937_64 random{options.seed * 7919 + worker};
      std::function<void()> const thread = [&] {
        host_context const context{fibers, reinterpret_cast<std::uintptr_t>(&*shared), sizeof(typename Body::Shared),
                                   extras.data(), options.watch};
        body(context, *shared, arguments...);
      };
      // Relaxed: which block runs next orders no memory.
      for (auto i = next.fetch_add(1, std::memory_order_relaxed); i < order.size();
           i = next.fetch_add(1, std::memory_order_relaxed)) {
        shared.poison();
        for (auto& each : extras) each = {};
        fibers.run(order[i] % grid.x, order[i] / grid.x, thread, options.seed != 0 ? &random : nullptr);
        if (options.watch.races != nullptr)
          options.watch.races->forget(reinterpret_cast<std::uintptr_t>(&*shared), sizeof(typename Body::Shared));
      }
    } catch (...) {
      std::scoped_lock const lock{failure_mutex};
      if (!failure) failure = std::current_exception();
      next.store(static_cast<unsigned>(order.size()));
    }
  };
  std::vector<std::jthread> pool;
  for (unsigned w = 1; w < std::min<unsigned>(options.workers, static_cast<unsigned>(order.size())); ++w)
    pool.emplace_back(work, w);
  work(0);
  pool.clear();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace simt_test
