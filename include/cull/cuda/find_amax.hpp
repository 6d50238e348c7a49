// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include <cull/cuda/context.hpp>
#include <cull/cuda/source_tile.hpp>
#include <cull/cuda/warp_tiles.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// The greatest magnitude of a matrix, by its bits, so that infinity and NaN show as more than any number; into `amax_bits`,
/// which the caller has zeroed.
template <class T>
struct find_amax {
  static constexpr unsigned threads = 256;
  using Shared = no_shared;

  matrix_view<T const, device_memory> source;
  warp_tiles tiles;
  std::uint32_t* amax_bits;

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void operator()(Ctx const& c, no_shared&) const {
    std::uint32_t most = 0;
    tiles.for_each(c, [&](std::uint32_t row, std::uint32_t first) {
      auto const tile = source_tile<T>::load(c, source, tiles.columns, row, first);
      CULL_UNROLL_FULLY
      for (auto const& step : tile.x) {
        CULL_UNROLL_FULLY
        for (float const x : step) {
          auto const bits = bits_as<std::uint32_t>(x) & 0x7fffffffu;
          most = bits > most ? bits : most;
        }
      }
    });
    CULL_UNROLL_FULLY
    for (unsigned bit = 16; bit > 0; bit /= 2) {
      auto const other = c.shuffle_xor(most, bit);
      most = other > most ? other : most;
    }
    if (c.lane() == 0 && most != 0) c.atomic_max(amax_bits, most);
  }
};

}  // namespace simt

CULL_NAMESPACE_END
