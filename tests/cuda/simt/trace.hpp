// SPDX-License-Identifier: Apache-2.0
// What a profiler would say about memory, from the addresses alone: the n-th access of a line of source by the lanes of a warp is
// one request; global memory moves in sectors of 32 bytes, shared memory has 32 banks of 4 bytes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <tuple>
#include <vector>

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
  SIMT_UNWATCHED void note(thread_block const& b, std::uintptr_t address, std::size_t bytes, access_kind kind, int line,
                           space where) {
    std::scoped_lock const lock{mutex_};
    auto const block_number = b.y() * b.grid().x + b.x();
    auto const nth = count_[{block_number, b.thread(), line, kind, where}]++;
    requests_[{where, kind, line, block_number, b.thread() / 32, nth}].push_back({address, bytes});
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
  std::map<int, traffic> by_line(space where, access_kind kind) const {
    std::map<int, traffic> lines;
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
  using request_key = std::tuple<space, access_kind, int, unsigned, unsigned, unsigned>;

  static void add(traffic& sum, std::vector<range> const& lanes, space where) {
    if (lanes.size() > 1 && std::all_of(lanes.begin(), lanes.end(), [&](range r) { return r.address == lanes[0].address; })) {
      ++sum.scalars;
      return;
    }
    std::set<std::uintptr_t> bytes, sectors;
    for (auto const& [address, size] : lanes) {
      for (auto a = address; a < address + size; ++a) {
        bytes.insert(a);
        sectors.insert(a / 32);
      }
    }
    ++sum.requests;
    sum.bytes_used += bytes.size();
    if (where == space::global) sum.sectors += sectors.size();
    if (where == space::shared) sum.bank_conflicts += extra_passes(lanes);
  }

  // Lanes of 8 and 16 bytes go by halves and quarters of a warp; within one, a bank gives one word per pass.
  static std::uint64_t extra_passes(std::vector<range> const& lanes) {
    if (lanes.empty()) return 0;
    std::size_t const together = 32 / std::max<std::size_t>(1, lanes[0].bytes / 4);
    std::uint64_t extra = 0;
    for (std::size_t first = 0; first < lanes.size(); first += together) {
      std::map<std::uintptr_t, std::set<std::uintptr_t>> words_of_bank;
      std::size_t passes = 1;
      for (std::size_t i = first; i < std::min(first + together, lanes.size()); ++i) {
        for (auto word = lanes[i].address / 4; word <= (lanes[i].address + lanes[i].bytes - 1) / 4; ++word) {
          auto& words = words_of_bank[word % 32];
          words.insert(word);
          passes = std::max(passes, words.size());
        }
      }
      extra += passes - 1;
    }
    return extra;
  }

  std::mutex mutex_;
  std::map<std::tuple<unsigned, unsigned, int, access_kind, space>, unsigned> count_;
  std::map<request_key, std::vector<range>> requests_;
};

}  // namespace simt_test
