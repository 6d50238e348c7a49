// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/cpu/packed_rows.hpp>
#include <cull/cpu/x86/targets.hpp>

#if CULL_X86

CULL_NAMESPACE_BEGIN

namespace detail {

/// Asks for a line. Into L2: L1 holds the activations and tables of those at hand.
inline __attribute__((always_inline)) void ask_for(std::uint8_t const* at) noexcept {
  _mm_prefetch(reinterpret_cast<char const*>(at), _MM_HINT_T1);
}
/// Asks for what `rows` rows have at `at`, a step apart.
template <int rows>
inline __attribute__((always_inline)) void ask_for_rows(std::uint8_t const* at, std::int64_t step) noexcept {
  CULL_UNROLL(6)
  for (int r = 0; r < rows; ++r) ask_for(at + r * step);
}

/// What comes `of.ahead` bytes of codes after 128 columns, from column `k` on, of rows that are at `codes` and `scales` there.
/// The rows' own columns ahead would end with them, and leave where others begin to the hardware, which is late.
template <int rows>
inline __attribute__((always_inline)) void ask_ahead(packed_strip const& of, std::int64_t k, std::uint8_t const* codes,
                                                     std::uint8_t const* scales) noexcept {
  ask_for_rows<rows>(codes + of.ahead, of.code_step);
  if (k % 1024 == 0) ask_for_rows<rows>(scales + of.ahead / 8, of.scale_step);
}

/// The same while a piece of one row is decoded, whose `k` first columns are behind `codes` and `scales`.
inline __attribute__((always_inline)) void ask_ahead(std::int64_t k, std::uint8_t const* codes, std::uint8_t const* scales,
                                                     std::int64_t ahead) noexcept {
  ask_for(codes + ahead);
  if (k % 1024 == 0) ask_for(scales + ahead / 8);
}

}  // namespace detail

CULL_NAMESPACE_END

#endif
