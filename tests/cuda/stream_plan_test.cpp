// SPDX-License-Identifier: Apache-2.0
// The plan of a streamed layer, carried out in every order that its events allow, and by the experts' kernels on the host.
#include <algorithm>
#include <cstring>
#include <functional>
#include <random>

#include <doctest/doctest.h>
#include <cull/cuda/copy_expert.hpp>
#include <cull/cuda/expert_part.hpp>
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

  std::function<void(stream_step const&)> on_copy = [](auto const&) {}, on_run = on_copy;

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
        on_copy(s);
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
    on_run(s);
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

namespace {

using namespace cuda_tests;
using simt_test::device_array;

/// A batch in device memory with what a layer makes of it.
struct streamed_batch {
  batch const& b;
  std::int64_t pairs = b.tokens * b.k;
  device_array<float> x{b.x}, weights{b.weights}, outputs{static_cast<std::size_t>(pairs * b.hidden)};
  device_array<std::int32_t> ids{b.ids};
  device_array<double> norms{static_cast<std::size_t>(pairs)};

  auto in() const { return x.view(b.tokens, b.hidden); }
  auto chosen() const { return cull::routing<cull::device_memory>{ids.view(b.tokens, b.k), weights.view(b.tokens, b.k)}; }
  auto out() const { return outputs.view(pairs, b.hidden); }
  auto norms_out() const { return norms.view(b.tokens, b.k); }
};

/// Two buffers of device memory, and the experts that are in them.
template <class Dialect>
struct two_buffers {
  using host_experts = std::vector<cull::gated_expert<cull::matrix<format_of<Dialect>>>>;

  host_experts const& layer;
  std::int64_t each = cull::expert_bytes(layer[0]);
  std::int32_t at_once;
  device_array<std::uint8_t> memory[2] = {device_array<std::uint8_t>{static_cast<std::size_t>(at_once * each)},
                                          device_array<std::uint8_t>{static_cast<std::size_t>(at_once * each)}};
  std::vector<device_expert<Dialect>> there[2] = {};

  void copy(stream_step const& s) {
    auto const& to = memory[s.buffer];
    std::fill_n(to.data(), to.size(), std::uint8_t{0xff});  // NaN, if anything of the part before were read
    there[s.buffer].clear();
    for (std::int32_t e = 0; e < s.count; ++e) {
      there[s.buffer].push_back(
          cull::copy_expert(layer[static_cast<std::size_t>(s.first + e)], to.data() + e * each,
                            [](void* into, void const* from, std::size_t n) { std::memcpy(into, from, n); }));
    }
  }
};

template <class Policy, class Dialect>
void check_streamed(layer<Dialect> const& l, batch const& b, cull::expert_use use) {
  simt_test::on_simt const exec{{.seed = 5}};
  auto const experts = l.device();
  std::span const all{experts};
  streamed_batch const whole{b};
  cull::run_experts<Policy>(exec, all, whole.in(), whole.chosen(), whole.out(), cull::silu{}, use);
  cull::expert_norms<Policy>(exec, all, whole.in(), whole.chosen(), whole.norms_out(), cull::silu{}, use);
  auto const host = l.host();
  two_buffers<Dialect> buffers{.layer = host, .at_once = 2};
  auto const count = static_cast<std::int32_t>(host.size());
  streamed_batch const parts{b};
  two_queues queues;
  queues.on_copy = [&](stream_step const& s) { buffers.copy(s); };
  queues.on_run = [&](stream_step const& s) {
    std::span const part{std::as_const(buffers.there[s.buffer])};
    cull::run_some_experts<Policy>(exec, part, {s.first, count}, parts.in(), parts.chosen(), parts.out(), cull::silu{}, use);
    cull::some_expert_norms<Policy>(exec, part, {s.first, count}, parts.in(), parts.chosen(), parts.norms_out(), cull::silu{},
                                    use);
  };
  queues.run(cull::stream_plan(count, {.expert_bytes = buffers.each, .buffer_bytes = 4 * buffers.each}), 7);
  auto const same = [](auto const& one, auto const& other) {
    auto const a = one.host(), c = other.host();
    return std::memcmp(a.data(), c.data(), a.size() * sizeof a[0]) == 0;
  };
  CHECK(same(parts.outputs, whole.outputs));
  CHECK(same(parts.norms, whole.norms));
}

}  // namespace

TEST_CASE_TEMPLATE("a layer that is copied in parts, five experts through two buffers, gives the bits of the whole layer", Policy,
                   cull::f32_precision, cull::bf16_precision, cull::latency<cull::f32_precision>) {
  batch b{5, 64, 2, 5};
  b.ids[1] = 5;   // a zero-compute expert
  b.ids[3] = -1;  // none
  b.ids[5] = 6;   // none
  layer<> l{5, 64, 64};
  check_streamed<Policy>(l, b, {.zero_experts = 1});
  l.add_biases();
  check_streamed<Policy>(l, b, {.gate_on_input = true, .zero_experts = 1});
#if !defined(CULL_SANITIZED)
  check_streamed<Policy>(layer<cull::mxfp4>{5, 64, 32}, b, {.zero_experts = 1});
  check_streamed<Policy>(layer<cull::compressed_tensors>{5, 64, 32, false}, b, {});
#endif
}

TEST_CASE("rows of interleaved matrices are copied with what lies between them") {
  layer<cull::mxfp4> const l{1, 64, 32};
  auto host = l.host();
  // gate's and up's rows as every second one of down's bytes, whatever they mean.
  auto const& bytes = l.experts[0].down;
  host[0].gate = {{bytes.codes.data(), bytes.scales.data(), 64, 2}, 8, 64};
  host[0].up = {{bytes.codes.data() + 32, bytes.scales.data() + 2, 64, 2}, 8, 64};
  host[0].down = {{bytes.codes.data(), bytes.scales.data(), 32, 1}, 64, 32};
  device_array<std::uint8_t> const memory{static_cast<std::size_t>(cull::expert_bytes(host[0]))};
  auto const there =
      cull::copy_expert(host[0], memory.data(), [](void* to, void const* from, std::size_t n) { std::memcpy(to, from, n); });
  auto const same_row = [](auto const& a, auto const& c, std::int64_t row) {
    float one[32], other[32];
    cull::mxfp4::decode_group(a.parts, row, 1, one);
    cull::mxfp4::decode_group(c.parts, row, 1, other);
    return std::memcmp(one, other, sizeof one) == 0;
  };
  for (std::int64_t row = 0; row < 8; ++row) {
    CHECK(same_row(host[0].gate, there.gate, row));
    CHECK(same_row(host[0].up, there.up, row));
  }
  CHECK(there.gate_bias.data() == nullptr);
}

TEST_CASE("a part that is none of the layer's is refused") {
  layer<> const l{3, 64, 64};
  batch const b{2, 64, 1, 3};
  auto const experts = l.device();
  streamed_batch const s{b};
  simt_test::on_simt const exec{};
  std::span const all{experts};
  CHECK_THROWS_WITH_AS(cull::run_some_experts(exec, all, {2, 4}, s.in(), s.chosen(), s.out()),
                       "run_some_experts: experts 2 to 5 of a layer of 4", cull::error);
  CHECK_THROWS_WITH_AS(cull::some_expert_norms(exec, all, {0, 3}, s.in(), s.chosen(), s.norms.view(1, 1)),
                       doctest::Contains("some_expert_norms: needed are x [tokens, hidden]"), cull::error);
}
