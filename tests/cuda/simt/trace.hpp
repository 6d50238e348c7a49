// SPDX-License-Identifier: Apache-2.0
// What a profiler would say about memory, from the addresses alone: the n-th access of a line of source in a launch by the lanes
// of a warp is one request; global memory moves in sectors of 32 bytes, shared memory has 32 banks of 4 bytes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <tuple>

#include "block.hpp"
#include "race.hpp"

namespace simt_test {

enum class space : std::uint8_t { global, shared };

/// Of all requests by one line of source.
struct traffic {
  std::uint64_t requests = 0;
  std::uint64_t scalars = 0;         ///< requests for one address by all lanes (a parameter); counted nowhere else
  std::uint64_t bytes_used = 0;      ///< distinct bytes that lanes asked for
  std::uint64_t sectors = 0;         ///< global: 32-byte sectors touched
  std::uint64_t bank_conflicts = 0;  ///< shared: passes beyond those that the bytes need

  double used() const { return sectors == 0 ? 1.0 : static_cast<double>(bytes_used) / (32.0 * static_cast<double>(sectors)); }
};

class memory_trace {
 public:
  SIMT_UNWATCHED void note(thread_block const& b, std::uintptr_t address, std::size_t bytes, access_kind kind, source_line line,
                           space where) {
    std::scoped_lock const lock{mutex_};
    auto const block_number = b.y() * b.grid().x + b.x();
    auto const nth = count_[{block_number, b.thread(), line, kind, where}]++;
    requests_[{where, kind, line, launch_, block_number, b.thread() / 32, nth}][b.thread() % 32] = {address, bytes};
  }
  /// Accesses are counted from here: those of different kernels are never one request.
  void begin_launch() {
    std::scoped_lock const lock{mutex_};
    ++launch_;
    count_.clear();
  }

  /// Sums over the lines that access `where` by `kind`; all of them must be regular for a share of 100 %.
  traffic total(space where, access_kind kind) const {
    traffic sum;
    for (auto const& [key, lanes] : requests_) {
      if (std::get<0>(key) != where || std::get<1>(key) != kind) continue;
      add(sum, lanes, where);
    }
    return sum;
  }
  /// The same by line of source.
  std::map<source_line, traffic> by_line(space where, access_kind kind) const {
    std::map<source_line, traffic> lines;
    for (auto const& [key, lanes] : requests_) {
      if (std::get<0>(key) == where && std::get<1>(key) == kind) add(lines[std::get<2>(key)], lanes, where);
    }
    return lines;
  }

 private:
  struct range {
    std::uintptr_t address;
    std::size_t bytes;
  };
  using request_key = std::tuple<space, access_kind, source_line, unsigned, unsigned, unsigned, unsigned>;
  using request = std::map<unsigned, range>;  // by lane, whatever the order in which lanes came

  static void add(traffic& sum, request const& by_lane, space where) {
    auto const first = by_lane.begin()->second.address;
    if (by_lane.size() > 1 &&
        std::all_of(by_lane.begin(), by_lane.end(), [&](auto const& lane) { return lane.second.address == first; })) {
      ++sum.scalars;
      return;
    }
    std::set<std::uintptr_t> bytes, sectors;
    for (auto const& [lane, asked] : by_lane) {
      for (auto a = asked.address; a < asked.address + asked.bytes; ++a) {
        bytes.insert(a);
        sectors.insert(a / 32);
      }
    }
    ++sum.requests;
    sum.bytes_used += bytes.size();
    if (where == space::global) sum.sectors += sectors.size();
    if (where == space::shared) sum.bank_conflicts += extra_passes(by_lane);
  }

  // Lanes of 8 and 16 bytes go by halves and quarters of a warp; within one, a bank gives one word per pass.
  static std::uint64_t extra_passes(request const& by_lane) {
    std::map<unsigned, std::map<std::uintptr_t, std::set<std::uintptr_t>>> words_of_bank;  // by part of the warp
    for (auto const& [lane, asked] : by_lane) {
      unsigned const together = 32 / std::max(1u, static_cast<unsigned>(asked.bytes) / 4);
      for (auto word = asked.address / 4; word <= (asked.address + asked.bytes - 1) / 4; ++word) {
        words_of_bank[lane / together][word % 32].insert(word);
      }
    }
    std::uint64_t extra = 0;
    for (auto const& [part, banks] : words_of_bank) {
      std::size_t passes = 1;
      for (auto const& [bank, words] : banks) passes = std::max(passes, words.size());
      extra += passes - 1;
    }
    return extra;
  }

  std::mutex mutex_;
  std::map<std::tuple<unsigned, unsigned, source_line, access_kind, space>, unsigned> count_;
  std::map<request_key, request> requests_;
  unsigned launch_ = 0;
};

}  // namespace simt_test
