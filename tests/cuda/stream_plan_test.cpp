// SPDX-License-Identifier: Apache-2.0
// The plan of a streamed layer, carried out in every order that its events allow, and by the experts' kernels on the host.
#include <algorithm>
#include <random>

#include <doctest/doctest.h>
#include <cull/cuda/stream_plan.hpp>

#include "experts_support.hpp"

using cull::stream_step;
using kind = cull::stream_step::kind;

namespace {

/// Two queues that advance in a random order; a queue stops at an event until the other one has recorded it.
struct two_queues {
  std::vector<stream_step> copies, kernels;  // steps of each, waits before what they guard
  std::vector<int> holds{-1, -1};            // first expert in each buffer
  std::vector<bool> busy{false, false};      // copied and not yet run
  std::vector<std::int32_t> ran;

  void run(std::vector<stream_step> const& plan, unsigned seed) {
    for (auto const& s : plan) (s.what == kind::copy || s.what == kind::wait_until_free ? copies : kernels).push_back(s);
    std::mt19937 random{seed};
    std::size_t c = 0, k = 0;
    std::vector<int> copied(2), freed(2), waited_copies(2), waited_runs(2);
    while (c < copies.size() || k < kernels.size()) {
      bool const copy_turn = k == kernels.size() || (c < copies.size() && random() % 2 == 0);
      auto const& s = copy_turn ? copies[c] : kernels[k];
      auto const b = static_cast<std::size_t>(s.buffer);
      if (s.what == kind::wait_until_free && freed[b] <= waited_runs[b]) {
        REQUIRE(k < kernels.size());  // else a deadlock
        k += step_kernel(kernels[k], copied, freed, waited_copies);
        continue;
      }
      if (s.what == kind::wait_until_free) ++waited_runs[b], ++c;
      if (s.what == kind::copy) {
        CHECK_FALSE(busy[b]);  // kernels may still read the buffer
        busy[b] = true;
        holds[b] = s.first;
        ++copied[b], ++c;
      }
      if (!copy_turn) k += step_kernel(s, copied, freed, waited_copies);
    }
  }

 private:
  std::size_t step_kernel(stream_step const& s, std::vector<int> const& copied, std::vector<int>& freed,
                          std::vector<int>& waited) {
    auto const b = static_cast<std::size_t>(s.buffer);
    if (s.what == kind::wait_until_copied) {
      if (copied[b] <= waited[b]) return 0;
      ++waited[b];
      return 1;
    }
    CHECK(holds[b] == s.first);
    for (std::int32_t e = s.first; e < s.first + s.count; ++e) ran.push_back(e);
    busy[b] = false;
    ++freed[b];
    return 1;
  }
};

}  // namespace

TEST_CASE("every expert is copied and run once, ascending, never into a buffer in use, in any order that the events allow") {
  for (std::int32_t const experts : {0, 1, 2, 3, 7, 256}) {
    for (std::int64_t const room : {2, 3, 5, 64, 4096}) {
      auto const plan = cull::stream_plan(experts, {.expert_bytes = 100, .buffer_bytes = 100 * room});
      std::vector<std::int32_t> all(static_cast<std::size_t>(experts));
      for (std::int32_t e = 0; e < experts; ++e) all[static_cast<std::size_t>(e)] = e;
      for (unsigned seed = 0; seed < 20; ++seed) {
        two_queues q;
        q.run(plan, seed);
        CHECK(q.ran == all);
      }
      for (auto const& s : plan) CHECK(s.count * 100 * 2 <= 100 * room);
    }
  }
  CHECK_THROWS_WITH_AS(cull::stream_plan(3, {.expert_bytes = 100, .buffer_bytes = 199}),
                       doctest::Contains("room for two experts"), cull::error);
}

TEST_CASE("the copy of a part stands before the run of the part before it is waited for") {
  auto const plan = cull::stream_plan(3, {.expert_bytes = 1, .buffer_bytes = 2});
  std::vector<stream_step> const expect{
      {kind::copy, 0, 0, 1},
      {kind::wait_until_copied, 0, 0, 1},
      {kind::run, 0, 0, 1},
      {kind::copy, 1, 1, 1},
      {kind::wait_until_copied, 1, 1, 1},
      {kind::run, 1, 1, 1},
      {kind::wait_until_free, 0, 2, 1},
      {kind::copy, 0, 2, 1},
      {kind::wait_until_copied, 0, 2, 1},
      {kind::run, 0, 2, 1},
  };
  CHECK(plan == expect);
}

TEST_CASE("a layer in parts gives the bits of the whole layer") {
  using namespace cuda_tests;
  layer<> const l{5, 64, 64};
  batch const b{9, 64, 2, 5};
  simt_test::on_simt const exec{};
  simt_test::device_array<float> const x{b.x}, weights{b.weights}, whole{b.ids.size() * 64}, parts{b.ids.size() * 64};
  simt_test::device_array<std::int32_t> const ids{b.ids};
  cull::routing<cull::device_memory> const chosen{ids.view(9, 2), weights.view(9, 2)};
  auto const experts = l.device();
  std::span const all{experts};
  cull::run_experts<cull::bf16_precision>(exec, all, x.view(9, 64), chosen, whole.view(18, 64));
  for (auto const& s : cull::stream_plan(5, {.expert_bytes = 10, .buffer_bytes = 40})) {
    if (s.what != kind::run) continue;
    auto const part = all.subspan(static_cast<std::size_t>(s.first), static_cast<std::size_t>(s.count));
    cull::run_some_experts<cull::bf16_precision>(exec, part, s.first, x.view(9, 64), chosen, parts.view(18, 64));
  }
  CHECK(parts.host() == whole.host());
}
