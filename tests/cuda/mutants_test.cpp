// SPDX-License-Identifier: Apache-2.0
// The detectors detect: the library's own bodies, run on a context that leaves a barrier or a wait out, makes an atomic plain,
// is one element off or names a wrong set of lanes. Each must be reported, whatever the order of threads.
#include <cstdint>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "mutants.hpp"

using namespace mutants;

namespace {

/// What the executor says of the operation with that mistake, or that it leaves other bytes; empty: nothing.
template <class Operation>
std::string report(Operation const& operation, mistake what, std::uint64_t seed) {
  race_detector races;
  auto const with = [&](mistake m) { return operation(on_mutant{on_simt{{.seed = seed, .watch = {.races = &races}}}, m}); };
  try {
    auto const got = with(what);
    if (what != mistake::none && got != with(mistake::none)) return "other bytes";
  } catch (fault const& f) {
    return f.what();
  }
  return {};
}

template <class... Operations>
void check_reported(mistake what, std::string const& as, Operations const&... operations) {
#if defined(CULL_SANITIZED)
  std::vector<std::uint64_t> const seeds{1};  // fibers there run at a tenth of the speed
#else
  std::vector<std::uint64_t> const seeds{0, 1, 2};
#endif
  for (auto const seed : seeds) {
    (
        [&] {
          CHECK(report(operations, mistake::none, seed) == "");
          auto const said = report(operations, what, seed);
          CHECK_MESSAGE((!said.empty() && said.find(as) != std::string::npos), said);
        }(),
        ...);
  }
}

}  // namespace

TEST_CASE("a barrier left out is a data race") {
  check_reported(mistake::no_barrier, "data race", relayout{}, relayout_back{}, select_kept{}, combine{});
  check_reported(mistake::no_second_barrier, "data race", group_pairs{});
}

TEST_CASE("a barrier left out among asynchronous copies is a race, an access before they are there, or an address of garbage") {
  for (auto const what : {mistake::no_barrier, mistake::no_second_barrier}) {
    check_reported(what, "", group_pairs{}, gate_up{}, down{}, norms{}, matmul{});
  }
}

TEST_CASE("a barrier of a warp left out is a data race") {
  check_reported(mistake::no_warp_barrier, "data race", route{}, dequantize_groups{});
}

TEST_CASE("an atomic made plain is a data race") {
  check_reported(mistake::plain_atomics, "data race", quantize{}, route{}, add{});
}

TEST_CASE("an index that is one off leaves the memory") {
  check_reported(mistake::load_off_by_one, "out of range", dequantize{}, quantize{}, relayout{}, relayout_back{}, route{}, add{},
                 select_kept{}, group_pairs{}, gate_up{}, down{}, norms{}, combine{});
  check_reported(mistake::store_off_by_one, "out of range", dequantize{}, quantize{}, relayout{}, relayout_back{}, route{},
                 select_kept{}, group_pairs{}, gate_up{}, down{}, norms{}, matmul{}, combine{});
  // In place: a neighbour's.
  check_reported(mistake::load_off_by_one, "data race", merge{});
  check_reported(mistake::store_off_by_one, "data race", merge{});
}

TEST_CASE("an index of shared memory that is one off shows, in the results if nowhere else") {
  check_reported(mistake::shared_off_by_one, "", relayout{}, relayout_back{}, route{}, select_kept{}, group_pairs{}, gate_up{},
                 down{}, norms{}, matmul{}, combine{});
}

TEST_CASE("a wrong set of lanes is noticed") {
  for (auto const what : {mistake::lane_missing, mistake::half_warps}) {
    check_reported(what, "mask leaves out", dequantize{}, quantize{}, route{}, group_pairs{}, combine{});
  }
}

TEST_CASE("asynchronous copies that nobody waits for are not there") {
  for (auto const what : {mistake::no_wait, mistake::waits_for_less, mistake::no_commit}) {
    check_reported(what, "has not filled yet", gate_up{}, down{}, norms{}, matmul{});
  }
}
