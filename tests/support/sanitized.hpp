// SPDX-License-Identifier: Apache-2.0
// Sanitizers make code some ten times as slow: what tests repeat only to find wrong answers, they repeat less often under them.
#pragma once

namespace test_support {

#ifdef CULL_SANITIZED
inline constexpr bool sanitized = true;
#else
inline constexpr bool sanitized = false;
#endif

/// `often`, or under sanitizers `seldom`.
constexpr int repeated(int often, int seldom) { return sanitized ? seldom : often; }

}  // namespace test_support
