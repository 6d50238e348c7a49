// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// Bytes of a target that no cache of today's cores keeps for whoever comes next: those are written past the caches.
inline constexpr std::int64_t past_caches = std::int64_t{4} << 20;

}  // namespace detail

CULL_NAMESPACE_END
