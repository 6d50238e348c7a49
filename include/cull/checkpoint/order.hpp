// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// A stable sort for lists that consist of ascending runs, as lists of tensors do: each type and shard is one. Linear times the
/// logarithm of the number of runs; places are sorted, so each element moves once.
template <class T, class Before>
void sort_runs(std::vector<T>& list, Before&& before) {
  std::vector<std::size_t> ends;  // of the runs
  for (std::size_t i = 1; i < list.size(); ++i) {
    if (before(list[i], list[i - 1])) ends.push_back(i);
  }
  if (ends.empty()) return;
  ends.push_back(list.size());
  std::vector<std::uint32_t> order(list.size()), merged(list.size());
  std::iota(order.begin(), order.end(), 0u);
  auto const by_place = [&](std::uint32_t a, std::uint32_t b) { return before(list[a], list[b]); };
  while (ends.size() > 1) {
    std::size_t begin = 0, kept = 0;
    for (std::size_t r = 0; r < ends.size(); r += 2) {
      auto const middle = ends[r], end = r + 1 < ends.size() ? ends[r + 1] : middle;
      auto const at = [&](std::size_t i) { return order.begin() + static_cast<std::ptrdiff_t>(i); };
      std::merge(at(begin), at(middle), at(middle), at(end), merged.begin() + static_cast<std::ptrdiff_t>(begin), by_place);
      ends[kept++] = begin = end;
    }
    ends.resize(kept);
    order.swap(merged);
  }
  std::vector<T> sorted;
  sorted.reserve(list.size());
  for (auto const i : order) sorted.push_back(std::move(list[i]));
  list = std::move(sorted);
}

}  // namespace detail
CULL_NAMESPACE_END
