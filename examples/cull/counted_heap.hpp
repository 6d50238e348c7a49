// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <engine/heap.hpp>

namespace program {

/// Counts what this program takes by `operator new`, which `counted_heap.cpp` replaces, to within `heap_slack` bytes a thread:
/// what `malloc` gives for it, alignment and all. Null where it is not replaced: elsewhere than on Linux.
engine::heap_counter* heap();

/// Changes that a thread keeps to itself, so that threads do not wait for each other's counts.
inline constexpr std::int64_t heap_slack = 16384;

}  // namespace program
