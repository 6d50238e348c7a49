// SPDX-License-Identifier: Apache-2.0
// Threads: every index once, nested and concurrent calls, errors, a user's own pool, and no more threads than asked for.
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include <cull/cpu/on_cpu.hpp>

namespace {

class thread_ids {
 public:
  void note() {
    std::scoped_lock const hold{lock_};
    ids_.insert(std::this_thread::get_id());
  }
  std::size_t size() const { return ids_.size(); }

 private:
  std::mutex lock_;
  std::set<std::thread::id> ids_;
};

/// Whether as many threads come as are asked for: each waits for the others, so none can do the share of two.
bool all_come(cull::thread_pool& pool, int threads) {
  using clock = std::chrono::steady_clock;
  std::atomic<int> inside{0}, alone{0};
  auto const deadline = clock::now() + std::chrono::seconds{20};
  for_each_index(cull::on_cpu{.threads = threads, .pool = pool}, threads, [&](std::int64_t) {
    ++inside;
    while (inside < threads && clock::now() < deadline) std::this_thread::yield();
    alone += inside < threads ? 1 : 0;
  });
  return alone == 0;
}

bool every_index_once(cull::on_cpu const& exec, std::int64_t size) {
  std::vector<std::atomic<int>> calls(static_cast<std::size_t>(size));
  for_each_index(exec, size, [&](std::int64_t i) { ++calls[static_cast<std::size_t>(i)]; });
  for (auto const& count : calls) {
    if (count != 1) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("for_each_index: every index once, for few, as many and more indices than threads") {
  for (int const threads : {0, 1, 2, 3, 7}) {
    for (std::int64_t const size : {0, 1, 2, 6, 7, 8, 1000}) CHECK(every_index_once({threads}, size));
  }
}

TEST_CASE("for_each_index: nested three deep, on no more threads than the largest call asked for") {
  cull::thread_pool pool;
  thread_ids seen;
  std::atomic<int> calls{0};
  for_each_index(cull::on_cpu{.threads = 3, .pool = pool}, 5, [&](std::int64_t) {
    for_each_index(cull::on_cpu{.threads = 2, .pool = pool}, 4, [&](std::int64_t) {
      for_each_index(cull::on_cpu{.threads = 3, .pool = pool}, 3, [&](std::int64_t) {
        seen.note();
        ++calls;
      });
    });
  });
  CHECK(calls == 60);
  CHECK(seen.size() <= 3);
}

TEST_CASE("for_each_index: from several threads at once") {
  std::atomic<int> wrong{0};
  {
    std::vector<std::jthread> callers;
    for (int c = 0; c < 4; ++c) {
      callers.emplace_back([&] {
        for (int round = 0; round < 200; ++round) wrong += every_index_once({3}, 20) ? 0 : 1;
      });
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("for_each_index: the first exception comes back, and the pool works on") {
  for (int const threads : {1, 4}) {
    CHECK_THROWS_WITH_AS(for_each_index(cull::on_cpu{threads}, 100,
                                        [](std::int64_t i) {
                                          if (i == 3) throw std::runtime_error{"three"};
                                        }),
                         "three", std::runtime_error);
    CHECK(every_index_once({threads}, 50));
  }
}

TEST_CASE("a user's pool does the work: one that never helps, one that starts threads, one shared by two executors") {
  int calls = 0;
  auto serial = [&](int workers, cull::pool_task task) {
    CHECK(workers == 8);
    ++calls;
    task();
  };
  CHECK(every_index_once({.threads = 8, .pool = serial}, 100));
  CHECK(calls == 1);
  std::atomic<int> started{0};
  auto const threads = [&](int workers, cull::pool_task task) {
    std::vector<std::jthread> all;
    for (int i = 0; i < workers; ++i) {
      ++started;
      all.emplace_back(task);
    }
  };
  cull::on_cpu const exec{.threads = 3, .pool = threads};
  CHECK(every_index_once(exec, 100));
  CHECK(started == 3);
  CHECK(every_index_once(exec.alone(), 100));
  CHECK(started == 3);
}

TEST_CASE("thread_pool: an own pool keeps its threads from call to call") {
  cull::thread_pool pool;
  thread_ids seen;
  for (int round = 0; round < 100; ++round) {
    for_each_index(cull::on_cpu{.threads = 4, .pool = pool}, 16, [&](std::int64_t) { seen.note(); });
  }
  CHECK(seen.size() <= 4);
}

TEST_CASE("thread_pool: threads that still look out for work and threads that sleep both come, and both end with the pool") {
  using clock = std::chrono::steady_clock;
  for (int const microseconds : {0, 20, 5000}) {
    cull::thread_pool pool;
    for (int round = 0; round < 20; ++round) {
      REQUIRE(all_come(pool, 3));
      auto const end = clock::now() + std::chrono::microseconds{microseconds};
      while (clock::now() < end) std::this_thread::yield();
    }
  }
}

TEST_CASE("thread_pool: of those that look out, who came too late for one call comes for the next") {
  cull::thread_pool pool;
  for (int round = 0; round < 200; ++round) {
    for (int const threads : {4, 2, 3}) REQUIRE(all_come(pool, threads));
  }
}

TEST_CASE("thread_pool: a caller waits for a share that takes longer than it looks out") {
  cull::thread_pool pool;
  auto const caller = std::this_thread::get_id();
  std::atomic<int> done{0};
  for (int round = 0; round < 5; ++round) {
    std::atomic<int> inside{0};
    for_each_index(cull::on_cpu{.threads = 2, .pool = pool}, 2, [&](std::int64_t) {
      ++inside;
      auto const deadline = std::chrono::steady_clock::now() + std::chrono::seconds{20};
      while (inside < 2 && std::chrono::steady_clock::now() < deadline) std::this_thread::yield();
      if (std::this_thread::get_id() != caller) std::this_thread::sleep_for(std::chrono::milliseconds{3});
      ++done;
    });
    CHECK(done == 2 * round + 2);
  }
}
