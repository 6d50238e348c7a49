// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

/// How the experts of a layer that is larger than device memory pass through two buffers: copies on one stream, kernels on
/// another, ordered by events and nothing else. The plan is data; `stream_layer.cuh` carries it out, tests read it.
struct stream_step {
  enum class kind : std::uint8_t {
    wait_until_free,    ///< the copy stream waits until the kernels on `buffer` are done
    copy,               ///< experts [first, first + count) from host memory to `buffer`, on the copy stream
    wait_until_copied,  ///< the kernel stream waits for that copy
    run,                ///< their tokens, on the kernel stream
  };
  kind what;
  int buffer;
  std::int32_t first;
  std::int32_t count;

  friend bool operator==(stream_step const&, stream_step const&) = default;
};

/// Bytes of an expert, and of device memory for both buffers together.
struct stream_limits {
  std::int64_t expert_bytes;
  std::int64_t buffer_bytes;
};

/// Experts in ascending order, as many at a time as half of the memory holds; each copied once, while the part before it runs.
/// In the order in which steps are enqueued. Throws `errc::out_of_range` where two experts do not fit.
inline std::vector<stream_step> stream_plan(std::int32_t experts, stream_limits const& limits) {
  auto const at_once = static_cast<std::int32_t>(
      std::min<std::int64_t>(experts, limits.buffer_bytes / 2 / std::max<std::int64_t>(1, limits.expert_bytes)));
  if (experts > 0 && at_once == 0) {
    throw error{errc::out_of_range, "streaming needs room for two experts, " + std::to_string(2 * limits.expert_bytes) +
                                        " bytes, and has " + std::to_string(limits.buffer_bytes)};
  }
  using kind = stream_step::kind;
  std::vector<stream_step> plan;
  int part = 0;
  for (std::int32_t first = 0; first < experts; first += at_once, ++part) {
    auto const now = std::min(at_once, experts - first);
    int const buffer = part % 2;
    if (part >= 2) plan.push_back({kind::wait_until_free, buffer, first, now});
    plan.push_back({kind::copy, buffer, first, now});
    plan.push_back({kind::wait_until_copied, buffer, first, now});
    plan.push_back({kind::run, buffer, first, now});
  }
  return plan;
}

CULL_NAMESPACE_END
