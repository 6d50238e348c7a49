// SPDX-License-Identifier: Apache-2.0
// What the kernels of products ask of memory: whole sectors, and no bank of shared memory twice.
#include <utility>

#include <doctest/doctest.h>
#include <cull/cuda/matmul.hpp>

#include "experts_support.hpp"

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
      // Less than a sector on average: tiles, ids and numbers of pairs.
      if (t.bytes_used < 32 * t.requests) continue;
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
template <class Dialect>
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
  cull::matmul<cull::latency<cull::bf16_precision>>(on_simt{{.watch = {.trace = &trace}}}, x.view(8, columns), m,
                                                    y.view(8, rows));
  return sectors_of(trace);
}

}  // namespace

TEST_CASE("full tiles use every byte that they move" * doctest::skip(sanitized)) {
  layer<> l{2, 512, 512};  // all tokens go to the first; two fill whole sectors of the table
  l.add_biases();
  batch const b{64, 512, 1, 1};
  auto const experts = l.device();
  device_array<float> const x{b.x}, weights{b.weights}, outputs{64 * 512};
  device_array<std::int32_t> const ids{b.ids};
  memory_trace trace;
  cull::run_experts<cull::bf16_precision>(on_simt{{.watch = {.trace = &trace}}}, std::span{experts}, x.view(64, 512),
                                          cull::routing<cull::device_memory>{ids.view(64, 1), weights.view(64, 1)},
                                          outputs.view(64, 512));
  auto const found = sectors_of(trace);
  CHECK(found.whole >= 9);  // x, codes, scales, biases, inner in and out, outputs
  CHECK(found.parted.empty());
}

TEST_CASE_TEMPLATE("rows of any number and MXFP4 use every byte that they move" * doctest::skip(sanitized), Dialect,
                   cull::modelopt, cull::mxfp4) {
  auto const found = sectors_of_product<Dialect>(96, 0);
  CHECK(found.whole >= 6);  // x, planes out and in, codes, scales, y
  CHECK(found.parted.empty());
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
