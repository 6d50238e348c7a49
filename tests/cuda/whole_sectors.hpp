// SPDX-License-Identifier: Apache-2.0
// What every kernel must ask of memory where its tiles are full, and the exceptions that have a reason beside the kernel.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "simt/on_simt.hpp"

namespace cuda_tests {

/// A line of a kernel, by its header, that moves that many sectors a request though fewer would hold what it asks for, or whose
/// requests of shared memory have a conflict of banks for so many of them.
struct known_traffic {
  char const* header;
  double sectors = 0;         ///< of a request
  double most_conflicts = 0;  ///< of a request
};

/// Every line that moves global memory uses all of the sectors that it asks for, or one a request where that is less than a
/// sector; no shared memory has a bank conflict. Returns the number of lines with whole sectors.
inline int check_whole(simt_test::memory_trace const& trace, std::vector<known_traffic> const& known = {}) {
  using simt_test::access_kind;
  int whole = 0;
  for (auto const kind : {access_kind::read, access_kind::write, access_kind::atomic}) {
    for (auto const& each : trace.by_line(simt_test::space::global, kind)) {
      auto const& t = each.second;
      std::string const line = each.first.text();
      CAPTURE(line);
      if (t.requests == 0) continue;  // parameters
      auto const is_known = [&] {
        for (auto const& k : known) {
          if (line.find(k.header) != std::string::npos &&
              static_cast<double>(t.sectors) == k.sectors * static_cast<double>(t.requests))
            return true;
        }
        return false;
      };
      if (t.used() == 1.0) {
        ++whole;
      } else if (!is_known() && t.bytes_used < 32 * t.requests) {
        CHECK(t.sectors == t.requests);
      } else if (!is_known()) {
        CHECK(t.used() == 1.0);
      }
    }
    for (auto const& each : trace.by_line(simt_test::space::shared, kind)) {
      std::string const line = each.first.text();
      CAPTURE(line);
      double most = 0;
      for (auto const& k : known) most = line.find(k.header) != std::string::npos ? k.most_conflicts : most;
      CHECK(static_cast<double>(each.second.bank_conflicts) <= most * static_cast<double>(each.second.requests));
    }
  }
  return whole;
}

}  // namespace cuda_tests
