// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <atomic>
#include <cull/cpu/on_cpu.hpp>
#include <stdexcept>
#include <type_traits>
#include <vector>

static_assert(cull::executor<cull::on_cpu>);
static_assert(!cull::executor<int>);
struct unknown_operation;
static_assert(!cull::implemented_on<unknown_operation, cull::on_cpu>);

TEST_CASE("for_each_index visits every index once, whatever the number of threads") {
  for (int const threads : {1, 2, 3, 8}) {
    for (int const count : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
      cull::for_each_index(cull::on_cpu{threads}, count, [&](std::int64_t i) { ++visits[static_cast<std::size_t>(i)]; });
      for (auto const& v : visits) CHECK(v == 1);
    }
  }
}

TEST_CASE("an exception in one thread reaches the caller, and nothing runs on after it") {
  for (int const threads : {1, 4}) {
    std::atomic<int> running{0};
    CHECK_THROWS_AS(cull::for_each_index(cull::on_cpu{threads}, 100,
                                         [&](std::int64_t i) {
                                           ++running;
                                           if (i == 13) throw std::runtime_error("thirteen");
                                           --running;
                                         }),
                    std::runtime_error);
    CHECK(running == 1);
  }
}

TEST_CASE("zero threads mean as many as the machine has") { CHECK(cull::on_cpu{0}.thread_count() >= 1); }
