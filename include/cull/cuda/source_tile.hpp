// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <type_traits>

#include <cull/cuda/context.hpp>
#include <cull/cuda/warp_tiles.hpp>
#include <cull/tensor/view.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// A lane's 16 values of a warp tile of f32 or bf16, as f32: in step s the lanes load 16 bytes each, side by side. Beyond the
/// last column there are zeros.
template <class T>
struct source_tile {
  static constexpr int values = 16 / sizeof(T);          // of a lane, in a step
  static constexpr int steps = warp_tile / 32 / values;  // as many as lanes that share a block of 16
  float x[steps][values];

  /// The lane's first column in a step.
  template <class Ctx>
  CULL_HD static std::uint32_t column(Ctx const& c, std::uint32_t first, int step) {
    return first + (static_cast<unsigned>(step) * 32 + c.lane()) * values;
  }

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static source_tile load(Ctx const& c, matrix_view<T const, device_memory> source, std::uint32_t columns,
                                  std::uint32_t row, std::uint32_t first) {
    source_tile out;
    CULL_UNROLL_FULLY
    for (int s = 0; s < steps; ++s) {
      auto const col = column(c, first, s);
      pack<std::uint32_t, 4> words{};
      if (col < columns) words = c.load(reinterpret_cast<pack<std::uint32_t, 4> const*>(&source(row, col)), streamed{});
      CULL_UNROLL_FULLY
      for (int i = 0; i < values; ++i) {
        if constexpr (std::is_same_v<T, float>) {
          out.x[s][i] = bits_as<float>(words[i]);
        } else {
          out.x[s][i] = bits_as<float>(i % 2 == 0 ? words[i / 2] << 16 : words[i / 2] & 0xffff0000u);
        }
      }
    }
    return out;
  }

  /// The block of the tile whose greatest magnitude `own_amax` gives to a lane.
  template <class Ctx>
  CULL_HD static unsigned own_block(Ctx const& c) {
    return c.lane() % steps * (32 / steps) + c.lane() / steps;
  }
  /// The lane that owns the block which this lane works on in a step.
  template <class Ctx>
  CULL_HD static unsigned owner(Ctx const& c, int step) {
    return (c.lane() & ~static_cast<unsigned>(steps - 1)) + static_cast<unsigned>(step);
  }

  /// The greatest magnitude of one block of 16 for each lane. In each round a lane hands on half of its steps.
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD float own_amax(Ctx const& c) const {
    float most[steps];
    CULL_UNROLL_FULLY
    for (int s = 0; s < steps; ++s) {
      most[s] = 0.0f;
      CULL_UNROLL_FULLY
      for (int i = 0; i < values; ++i) most[s] = c.max_magnitude(most[s], x[s][i]);
    }
    CULL_UNROLL_FULLY
    for (int bit = 1; bit < steps; bit *= 2) {
      bool const upper = (c.lane() & static_cast<unsigned>(bit)) != 0;
      CULL_UNROLL_FULLY
      for (int s = 0; s < steps; s += 2 * bit) {
        float const kept = upper ? most[s + bit] : most[s];
        float const given = upper ? most[s] : most[s + bit];
        most[s] = c.max_magnitude(kept, c.shuffle_xor(given, static_cast<unsigned>(bit)));
      }
    }
    return most[0];
  }
};

}  // namespace simt

CULL_NAMESPACE_END
