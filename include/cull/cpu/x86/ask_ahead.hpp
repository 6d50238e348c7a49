// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cpu/packed_rows.hpp>
#include <cull/cpu/x86/targets.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// Asks for what comes after 128 columns, from column `k` on, of a strip's rows. Into L2: L1 holds the activations and tables of
/// those at hand. The rows' own columns ahead would end with them, and leave where others begin to the hardware, which is late.
template <int rows>
inline __attribute__((always_inline)) void ask_ahead(packed_strip const& of, std::int64_t k) noexcept {
  CULL_UNROLL(6)
  for (int r = 0; r < rows; ++r) {
    _mm_prefetch(reinterpret_cast<char const*>(of.codes + r * of.code_step + k / 2 + of.ahead), _MM_HINT_T1);
    if (k % 1024 == 0)
      _mm_prefetch(reinterpret_cast<char const*>(of.scales + r * of.scale_step + k / 16 + of.ahead / 8), _MM_HINT_T1);
  }
}

}  // namespace detail

CULL_NAMESPACE_END

#endif
