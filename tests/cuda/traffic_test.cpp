// SPDX-License-Identifier: Apache-2.0
// What the kernels of products ask of memory: whole sectors, and no bank of shared memory twice.
#include <utility>

#include <doctest/doctest.h>
#include <cull/cuda/matmul.hpp>

#include "experts_support.hpp"
#include "whole_sectors.hpp"

using namespace cuda_tests;
using simt_test::access_kind;
using simt_test::device_array;
using simt_test::memory_trace;
using simt_test::on_simt;
using simt_test::space;

namespace {

#if defined(CULL_SANITIZED)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif

/// Where a lane asks the table of experts for its matrix, gate or up: 8 bytes of each.
constexpr known_traffic table_of_two{"expert_table.hpp", 2.0};

/// Lines that load or store whole sectors, and the traffic of those that do not.
struct sectors {
  std::size_t whole = 0;
  std::vector<simt_test::traffic> parted;
};

sectors sectors_of(memory_trace const& trace) {
  sectors out;
  for (auto const kind : {access_kind::read, access_kind::write}) {
    for (auto const& [at, t] : trace.by_line(space::shared, kind)) {
      std::string const line = at.text();
      CAPTURE(line);
      CHECK(t.bank_conflicts == 0);
    }
    for (auto const& [at, t] : trace.by_line(space::global, kind)) {
      if (t.requests == 0) continue;
      if (t.used() == 1.0) {
        ++out.whole;
      } else {
        out.parted.push_back(t);
      }
    }
  }
  return out;
}

/// Rows that are no whole stages: whole sectors of every part where scales start at a multiple of one.
template <class Dialect, class Policy = cull::latency<cull::bf16_precision>>
sectors sectors_of_product(std::int64_t rows, std::size_t scales_at, std::int64_t columns = 1024) {
  std::mt19937 random{3};
  random_matrix<Dialect> const w{rows, columns, random};
  auto bytes = w.scales;
  bytes.insert(bytes.begin(), scales_at, std::uint8_t{0});
  device_array<std::uint8_t> const scales{bytes};
  auto m = w.device();
  m.parts.scales = scales.data() + scales_at;
  device_array<float> const x{batch{8, columns, 1, 1}.x}, y{static_cast<std::size_t>(8 * rows)};
  memory_trace trace;
  cull::matmul<Policy>(on_simt{{.watch = {.trace = &trace}}}, x.view(8, columns), m, y.view(8, rows));
  return sectors_of(trace);
}

}  // namespace

namespace {

/// A full tile of one expert's tokens; two experts fill whole sectors of the table.
template <class Dialect, class Call>
void check_full_tile(std::int64_t tokens, std::int64_t size, int at_least, Call const& call) {
  layer<Dialect> l{2, size, size};
  l.add_biases();
  batch const b{tokens, size, 1, 1};
  auto const experts = l.device();
  device_array<float> const x{b.x}, weights{b.weights};
  device_array<std::int32_t> const ids{b.ids};
  memory_trace trace;
  call(on_simt{{.watch = {.trace = &trace}}}, std::span{experts}, x.view(tokens, size),
       cull::routing<cull::device_memory>{ids.view(tokens, 1), weights.view(tokens, 1)});
  CHECK(check_whole(trace, {table_of_two}) >= at_least);
}

template <class Policy, class Dialect = cull::modelopt>
void check_outputs(std::int64_t tokens, std::int64_t size) {
  device_array<float> const outputs{static_cast<std::size_t>(tokens * size)};
  check_full_tile<Dialect>(tokens, size, 11, [&](auto const& exec, auto experts, auto x, auto const& chosen) {
    cull::run_experts<Policy>(exec, experts, x, chosen, outputs.view(tokens, size));
  });
}

template <class Policy, class Dialect = cull::modelopt>
void check_norms(std::int64_t tokens, std::int64_t size) {
  device_array<double> const norms{static_cast<std::size_t>(tokens)};
  check_full_tile<Dialect>(tokens, size, 11, [&](auto const& exec, auto experts, auto x, auto const& chosen) {
    cull::expert_norms<Policy>(exec, experts, x, chosen, norms.view(tokens, 1));
  });
}

}  // namespace

// x, planes, codes, scales, biases, inner in and out, outputs or squares and norms, the table, pairs, ids.
TEST_CASE("full tiles use every byte that they move: outputs and norms, in every precision, for 64 tokens and for 8" *
          doctest::skip(sanitized)) {
  check_outputs<cull::bf16_precision>(64, 512);
  check_outputs<cull::latency<cull::f32_precision>>(8, 512);
  check_outputs<cull::latency<cull::bf16_precision>, cull::mxfp4>(8, 1024);
  check_norms<cull::f32_precision>(64, 512);
  check_norms<cull::latency<cull::bf16_precision>>(8, 512);
}

TEST_CASE("outputs are combined by whole sectors" * doctest::skip(sanitized)) {
  constexpr std::size_t tokens = 4, k = 2, hidden = 1024;
  memory_trace trace;
  device_array<float> const f{std::vector<float>(tokens * k * hidden, 1.5f)}, weights{std::vector<float>(tokens * k, 0.5f)},
      y{tokens * hidden};
  device_array<std::int32_t> const ids{std::vector<std::int32_t>(tokens * k)};
  device_array<double> const norms{tokens * k};
  cull::combine(on_simt{{.watch = {.trace = &trace}}},
                cull::routing<cull::device_memory>{ids.view(tokens, k), weights.view(tokens, k)}, f.view(tokens * k, hidden),
                y.view(tokens, hidden), norms.view(tokens, k));
  CHECK(check_whole(trace) >= 3);
}

TEST_CASE_TEMPLATE("rows of any number and MXFP4 use every byte that they move" * doctest::skip(sanitized), Dialect,
                   cull::modelopt, cull::mxfp4) {
  auto const check = [](sectors const& found) {
    CHECK(found.whole >= 6);  // x, planes out and in, codes, scales, y
    CHECK(found.parted.empty());
  };
  check(sectors_of_product<Dialect>(96, 0));
  check(sectors_of_product<Dialect, cull::bf16_precision>(96, 0));
  check(sectors_of_product<Dialect, cull::f32_precision>(96, 0));
}

TEST_CASE("scales that start anywhere: a request is a row's 32 bytes, in two sectors" * doctest::skip(sanitized)) {
  auto const check = [](sectors const& found, unsigned rows) {
    CHECK(found.whole >= 5);
    REQUIRE(found.parted.size() == 1);
    CHECK(found.parted[0].bytes_used == 32 * rows * found.parted[0].requests);
    CHECK(found.parted[0].sectors == 2 * rows * found.parted[0].requests);
  };
  check(sectors_of_product<cull::modelopt>(96, 5), 1);
  check(sectors_of_product<cull::mxfp4>(96, 7), 1);
  check(sectors_of_product<cull::modelopt>(64, 4), 4);  // by words, where rows are whole stages
  // Rows of 34 scales go by twos of bytes, two rows in a request.
  auto const by_twos = sectors_of_product<cull::mxfp4>(96, 0, 1088);
  REQUIRE(by_twos.parted.size() == 1);
  CHECK(by_twos.parted[0].bytes_used > 32 * by_twos.parted[0].requests);
}
