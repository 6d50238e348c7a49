// SPDX-License-Identifier: Apache-2.0
// The detectors detect: the library's own bodies, run on a context that leaves a barrier out, makes an atomic plain, loads one
// element off or names a wrong set of lanes. Each must be reported, whatever the order of threads.
#include <cstdint>
#include <string>

#include <doctest/doctest.h>

#include "mutants.hpp"

using namespace mutants;

namespace {

/// What the executor says of the operation on that context; empty: nothing.
template <class Context, class Operation>
std::string report(Operation const& operation, std::uint64_t seed) {
  race_detector races;
  on_mutant<Context> const exec{on_simt{{.seed = seed, .watch = {.races = &races}}}};
  try {
    operation(exec);
  } catch (fault const& f) {
    return f.what();
  }
  return {};
}

template <class Context, class... Operations>
void check_reported(std::string const& as, Operations const&... operations) {
  for (std::uint64_t const seed : {0u, 1u, 2u}) {
    (
        [&] {
          CHECK(report<as_it_is>(operations, seed) == "");
          CHECK_MESSAGE(report<Context>(operations, seed).find(as) != std::string::npos, report<Context>(operations, seed));
        }(),
        ...);
  }
}

}  // namespace

TEST_CASE("a barrier left out is a data race") {
  check_reported<without_barriers>("data race", relayout{}, relayout_back{}, select_kept{});
}

TEST_CASE("a barrier of a warp left out is a data race") {
  check_reported<without_warp_barriers>("data race", route{}, dequantize_groups{});
}

TEST_CASE("an atomic made plain is a data race") { check_reported<with_plain_atomics>("data race", quantize{}, route{}, add{}); }

TEST_CASE("an index that is one off leaves the memory") {
  check_reported<one_element_off>("out of range", dequantize{}, quantize{}, relayout{}, relayout_back{}, route{}, add{},
                                  select_kept{});
}

TEST_CASE("a wrong set of lanes is noticed") {
  check_reported<one_lane_missing>("mask leaves out", dequantize{}, quantize{}, route{});
  check_reported<half_warps>("mask leaves out", dequantize{}, quantize{}, route{});
}
