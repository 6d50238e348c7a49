// SPDX-License-Identifier: Apache-2.0
// The executor of the tests itself: what it computes, and that it reports what is wrong with a body.
#include <bit>
#include <cstdint>
#include <vector>

#include <doctest/doctest.h>
#include <cull/cuda/e2m1_table.hpp>
#include <cull/numeric/e2m1.hpp>

#include "simt/on_simt.hpp"

using namespace simt_test;
using cull::simt::all_lanes;
using cull::simt::no_shared;

namespace {

/// Sum of a block's values by shuffles and shared memory; `fault_at` leaves something out.
template <int Fault, unsigned Threads>
struct block_sum {
  static constexpr unsigned threads = Threads;
  struct Shared {
    std::int32_t part[(Threads + 31) / 32];
  };
  template <class Ctx>
  void operator()(Ctx const& c, Shared& s, std::int32_t const* in, std::int32_t* out, std::int64_t size) const {
    auto const i = std::int64_t{c.block()} * Threads + c.thread() + (Fault == 1 ? 1 : 0);
    std::int32_t v = i < size + (Fault == 1 ? 1 : 0) ? c.load(in + i) : 0;
    for (unsigned bits = 16; bits > 0; bits /= 2) {
      auto const other = c.shuffle_xor(v, bits, Fault == 2 ? 0x7fffffffu : all_lanes);
      unsigned const lanes = Threads - 32 * c.warp() < 32 ? Threads - 32 * c.warp() : 32;
      v += (c.lane() ^ bits) < lanes ? other : 0;
    }
    v = c.shuffle(v, 0);
    if (c.lane() == 0) c.store_shared(&s.part[c.warp()], v);
    if (Fault != 3) c.sync();
    if (Fault == 4 && c.thread() < 33) c.sync();
    if (Fault == 5 && c.thread() == 7) return;
    if (Fault == 5) c.sync();
    if (c.thread() == 0) {
      std::int32_t sum = 0;
      for (auto& p : s.part) sum += c.load_shared(&p);
      if (Fault == 6) c.store(out, c.load(out) + sum);
      if (Fault != 6) c.atomic_add(out, sum);
    }
    if (Fault == 7) c.load_shared(&s.part[(Threads + 31) / 32]);
    if (Fault == 9 && c.lane() == 0) c.declare_shared(s.part, 2);
    if (Fault == 10 && c.thread() == 0) c.declare_shared(s.part, 3);
    if (Fault == 8) (c.lane() % 2 == 0 ? static_cast<void>(c.ballot(true)) : c.sync_warp());
  }
};

template <int Fault, unsigned Threads = 64>
std::int32_t run(std::uint64_t seed, std::int64_t size = 4 * 64) {
  race_detector races;
  on_simt const exec{{.seed = seed, .workers = 2, .watch = {.races = &races}}};
  std::vector<std::int32_t> values(static_cast<std::size_t>(size));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int32_t>(i);
  device_array<std::int32_t> const in{values};
  device_array<std::int32_t> const out{std::vector<std::int32_t>{0}};
  exec.launch({static_cast<unsigned>((size + Threads - 1) / Threads)}, block_sum<Fault, Threads>{},
              static_cast<std::int32_t const*>(in.data()), out.data(), size);
  return out.host()[0];
}

}  // namespace

TEST_CASE("a body computes the same in every order of threads and blocks, with partial warps") {
  for (std::uint64_t const seed : {0u, 1u, 2u, 3u}) {
    CHECK(run<0>(seed) == 256 * 255 / 2);
    CHECK(run<0, 33>(seed, 100) == 100 * 99 / 2);
    CHECK(run<0, 1>(seed, 7) == 21);
    CHECK(run<0, 50>(seed, 333) == 333 * 332 / 2);
  }
}

TEST_CASE("faults are reported in every order") {
  for (std::uint64_t const seed : {0u, 1u, 2u}) {
    CHECK_THROWS_WITH_AS(run<1>(seed), doctest::Contains("out of range"), fault);
    CHECK_THROWS_WITH_AS(run<2>(seed), doctest::Contains("mask leaves out"), fault);
    CHECK_THROWS_WITH_AS(run<3>(seed), doctest::Contains("data race"), fault);
    CHECK_THROWS_WITH_AS(run<4>(seed), doctest::Contains("threads diverge"), fault);
    CHECK_THROWS_WITH_AS(run<5>(seed), doctest::Contains("threads diverge"), fault);
    CHECK_THROWS_WITH_AS(run<6>(seed), doctest::Contains("data race"), fault);
    CHECK_THROWS_WITH_AS(run<7>(seed), doctest::Contains("shared memory is out of range"), fault);
    CHECK_THROWS_WITH_AS(run<8>(seed), doctest::Contains("different warp operations"), fault);
    CHECK_THROWS_WITH_AS(run<9>(seed), doctest::Contains("data race"), fault);
    CHECK_THROWS_WITH_AS(run<10>(seed), doctest::Contains("shared memory is out of range"), fault);
  }
}

TEST_CASE("e2m1 by table is e2m1, for every pair of codes in every place") {
  auto const permute = [](std::uint32_t a, std::uint32_t b, std::uint32_t selector) {
    std::uint64_t const bytes = (std::uint64_t{b} << 32) | a;
    std::uint32_t out = 0;
    for (unsigned i = 0; i < 4; ++i) {
      auto const nibble = (selector >> (4 * i)) & 15u;
      auto byte = static_cast<std::uint32_t>(bytes >> (8 * (nibble & 7u))) & 0xffu;
      if ((nibble & 8u) != 0) byte = (byte & 0x80u) != 0 ? 0xffu : 0u;  // PTX: the sign, replicated
      out |= byte << (8 * i);
    }
    return out;
  };
  for (std::uint32_t pair = 0; pair < 256; ++pair) {
    for (unsigned place = 0; place < 4; ++place) {
      std::uint32_t out[4];
      cull::simt::unpack_e2m1_by_table((pair << (8 * place)) | (0x5au << (8 * ((place + 1) % 4))), out, permute);
      auto const low = cull::f16{static_cast<std::uint16_t>(out[place])}.decode();
      auto const high = cull::f16{static_cast<std::uint16_t>(out[place] >> 16)}.decode();
      auto const expect = [](std::uint32_t code) { return cull::e2m1{static_cast<std::uint8_t>(code)}.decode(); };
      CHECK(std::bit_cast<std::uint32_t>(low) == std::bit_cast<std::uint32_t>(expect(pair & 15u)));
      CHECK(std::bit_cast<std::uint32_t>(high) == std::bit_cast<std::uint32_t>(expect(pair >> 4)));
    }
  }
}

namespace {

struct strided_store {
  static constexpr unsigned threads = 32;
  struct Shared {
    float values[32 * 32];
  };
  int stride;
  template <class Ctx>
  void operator()(Ctx const& c, Shared& s, float* out) const {
    c.store(out + c.thread() * static_cast<unsigned>(stride), 1.0f);
    c.store_shared(&s.values[c.thread() * static_cast<unsigned>(stride)], 1.0f);
  }
};

/// One lane stores first, from the same number of a line as all of them later, in another file.
struct two_files_store {
  static constexpr unsigned threads = 32;
  struct Shared {
    cull::simt::pack<float, 4> values[64];
  };
  template <class Ctx>
  void operator()(Ctx const& c, Shared& s) const {
    if (c.lane() == 0) c.store_shared(&s.values[33], {}, {"one.hpp", 7});
    c.store_shared(&s.values[c.lane()], {}, {"two.hpp", 7});
  }
};

/// D = A B through the fragments of a warp.
struct multiply_tile {
  static constexpr unsigned threads = 32;
  using Shared = no_shared;
  template <class Ctx>
  void operator()(Ctx const& c, no_shared&, std::uint16_t const* a, std::uint16_t const* b, float* d) const {
    auto const pair = [&](std::uint16_t const* p) { return c.load(p) | (std::uint32_t{c.load(p + 1)} << 16); };
    unsigned const g = c.lane() / 4, t = c.lane() % 4;
    std::uint32_t const left[4] = {pair(a + 16 * g + 2 * t), pair(a + 16 * (g + 8) + 2 * t), pair(a + 16 * g + 2 * t + 8),
                                   pair(a + 16 * (g + 8) + 2 * t + 8)};
    std::uint32_t const right[2] = {pair(b + 16 * g + 2 * t), pair(b + 16 * g + 2 * t + 8)};  // b by columns
    float sum[4] = {0, 0, 0, 0};
    c.mma_m16n8k16_bf16(sum, left, right);
    for (unsigned i = 0; i < 4; ++i) c.store(d + 8 * (g + 8 * (i / 2)) + 2 * t + i % 2, sum[i]);
  }
};

/// Two groups of copies in flight; what has not been waited for is not there.
struct staged_copy {
  static constexpr unsigned threads = 32;
  struct Shared {
    alignas(16) float stage[2][32 * 4];
  };
  template <class Ctx>
  void operator()(Ctx const& c, Shared& s, float const* in, float* out) const {
    for (unsigned stage = 0; stage < 2; ++stage) {
      c.template copy_async<16>(&s.stage[stage][4 * c.thread()], in + 128 * stage + 4 * c.thread(), stage == 1 ? 8u : 16u);
      c.commit_async();
    }
    c.template wait_async<1>();
    c.sync();
    c.store(out + c.thread(), c.load_shared(&s.stage[0][(4 * c.thread() + 5) % 128]));
    c.template wait_async<0>();
    c.sync();
    c.store(out + 32 + c.thread(),
            c.load_shared(&s.stage[1][(4 * c.thread() + 5) % 128]) + c.load_shared(&s.stage[1][(4 * c.thread() + 6) % 128]));
  }
};

}  // namespace

TEST_CASE("memory traces count sectors and bank conflicts") {
  for (auto const& [stride, used, conflicts] : {std::tuple{1, 1.0, 0u}, std::tuple{2, 0.5, 1u}, std::tuple{32, 0.125, 31u}}) {
    memory_trace trace;
    on_simt const exec{{.watch = {.trace = &trace}}};
    device_array<float> const out{32 * 32};
    exec.launch({1}, strided_store{stride}, out.data());
    CHECK(trace.total(space::global, access_kind::write).used() == used);
    CHECK(trace.total(space::shared, access_kind::write).bank_conflicts == conflicts);
  }
}

TEST_CASE("a request is made by one line of one file, in whatever order its lanes come") {
  for (std::uint64_t const seed : {0u, 1u, 2u}) {
    memory_trace trace;
    on_simt const exec{{.seed = seed, .watch = {.trace = &trace}}};
    exec.launch({1}, two_files_store{});
    exec.launch({1}, two_files_store{});
    auto const all = trace.total(space::shared, access_kind::write);
    CHECK(all.requests == 4);
    CHECK(all.bank_conflicts == 0);
  }
}

TEST_CASE("mma multiplies tiles as PTX lays them out") {
  std::vector<std::uint16_t> a(16 * 16), b(8 * 16);
  auto const bits = [](int v) { return cull::bf16::encode(static_cast<float>(v)).bits; };
  for (int i = 0; i < 16 * 16; ++i) a[static_cast<std::size_t>(i)] = bits(i % 7 - 3);
  for (int i = 0; i < 8 * 16; ++i) b[static_cast<std::size_t>(i)] = bits(i * 5 % 11 - 5);
  device_array<std::uint16_t> const left{a}, right{b};
  device_array<float> const d{16 * 8};
  on_simt{{.seed = 5}}.launch({1}, multiply_tile{}, static_cast<std::uint16_t const*>(left.data()),
                              static_cast<std::uint16_t const*>(right.data()), d.data());
  auto const got = d.host();
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 8; ++n) {
      int sum = 0;
      for (int k = 0; k < 16; ++k) sum += ((16 * m + k) % 7 - 3) * ((16 * n + k) * 5 % 11 - 5);
      CHECK(got[static_cast<std::size_t>(8 * m + n)] == static_cast<float>(sum));
    }
  }
}

TEST_CASE("asynchronous copies arrive when they are waited for, and no earlier") {
  for (std::uint64_t const seed : {0u, 1u, 2u}) {
    race_detector races;
    std::vector<float> in(256);
    for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i + 1);
    device_array<float> const source{in}, out{64};
    on_simt{{.seed = seed, .watch = {.races = &races}}}.launch({1}, staged_copy{}, static_cast<float const*>(source.data()),
                                                               out.data());
    auto const got = out.host();
    for (unsigned t = 0; t < 32; ++t) {
      CHECK(got[t] == static_cast<float>((4 * t + 5) % 128 + 1));
      CHECK(got[32 + t] == static_cast<float>(128 + (4 * t + 5) % 128 + 1));  // the second half of 16 bytes became 0
    }
  }
}
