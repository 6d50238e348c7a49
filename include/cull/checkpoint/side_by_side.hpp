// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN
namespace detail {

/// Threads to use where `wanted` is 0: what one disk can be kept busy with.
inline std::size_t threads_or_default(int wanted) {
  return wanted > 0 ? static_cast<std::size_t>(wanted)
                    : std::min<std::size_t>(4, std::max(1u, std::thread::hardware_concurrency()));
}

/// Runs `work`, which takes one thing after another and throws nothing, on so many threads, this one among them.
template <class Work>
void side_by_side(std::size_t threads, Work const& work) noexcept {
  std::vector<std::thread> helpers;
  try {
    while (helpers.size() + 1 < threads) helpers.emplace_back(std::cref(work));
  } catch (std::exception const&) {
    // Those that could be started do it all.
  }
  work();
  for (auto& helper : helpers) helper.join();
}

}  // namespace detail
CULL_NAMESPACE_END
