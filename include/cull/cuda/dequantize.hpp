// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <type_traits>

#include <cull/cuda/context.hpp>
#include <cull/cuda/warp_tiles.hpp>
#include <cull/numeric/bf16.hpp>
#include <cull/numeric/f16.hpp>
#include <cull/tensor/dequantize.hpp>
#include <cull/tensor/nvfp4.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// NVFP4 with scales in rows, to T: a warp decodes 512 columns of a row, so that every sector it touches is used whole: 32
/// scales, a lane's each, go round by shuffle; in each step the lanes store 16 adjacent bytes. Codes lie at multiples of 4 bytes,
/// target rows at multiples of 16.
template <class Dialect, class T>
struct dequantize_nvfp4 {
  static constexpr unsigned threads = 256;
  using Shared = no_shared;
  static constexpr int values = 16 / sizeof(T);  // of a lane, in a step
  static constexpr int step = 32 * values;       // columns of a warp, in a step

  typename nvfp4<Dialect>::parts source;
  matrix_view<T, device_memory> target;
  warp_tiles tiles;

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void operator()(Ctx const& c, no_shared&) const {
    tiles.for_each(c, [&](std::uint32_t row, std::uint32_t first) {
      auto const stored = row * source.row_step;
      auto const* const scales = source.scales + stored * (source.cols / 16);
      auto const mine = first / 16 + c.lane();
      float const own = mine < tiles.columns / 16 ? c.decode_e4m3(c.load(scales + mine, streamed{})) : 0.0f;
      auto const* const codes = source.codes + stored * (source.cols / 2);
      CULL_UNROLL_FULLY
      for (int s = 0; s < warp_tile / step; ++s) {
        auto const lane_first = static_cast<unsigned>(s * step) + c.lane() * values;
        float const factor = Dialect::block_multiplier(c.shuffle(own, lane_first / 16), source.tensor_scale);
        auto const col = first + lane_first;
        if (col < tiles.columns) c.store(chunk(row, col), converted(c, load_codes(c, codes + col / 2), factor), streamed{});
      }
    });
  }

 private:
  using words = pack<std::uint32_t, 4>;
  using code_word = std::conditional_t<values == 8, std::uint32_t, std::uint16_t>;

  CULL_HD words* chunk(std::uint32_t row, std::uint32_t col) const { return reinterpret_cast<words*>(&target(row, col)); }

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static std::uint32_t load_codes(Ctx const& c, std::uint8_t const* codes) {
    return c.load(reinterpret_cast<code_word const*>(codes), streamed{});
  }

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static words converted(Ctx const& c, std::uint32_t codes, float factor) {
    std::uint32_t halves[4];
    c.unpack_e2m1(codes, halves);
    words out;
    CULL_UNROLL_FULLY
    for (int i = 0; i < 4; ++i) {
      // Of four values each word of the result is one.
      auto const pair = halves[values == 8 ? i : i / 2];
      float const low = c.f32_of_f16(static_cast<std::uint16_t>(pair)) * factor;
      float const high = c.f32_of_f16(static_cast<std::uint16_t>(pair >> 16)) * factor;
      if constexpr (std::is_same_v<T, bf16>) {
        out[i] = c.bf16x2(low, high);
      } else if constexpr (std::is_same_v<T, f16>) {
        out[i] = c.f16x2(low, high);
      } else {
        out[i] = bits_as<std::uint32_t>(i % 2 == 0 ? low : high);
      }
    }
    return out;
  }
};

/// Any format, to T: a thread decodes a group with the format's own function.
template <matrix_format F, class T>
struct dequantize_groups {
  static constexpr unsigned threads = 256;
  using Shared = no_shared;

  typename F::parts source;
  matrix_view<T, device_memory> target;

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void operator()(Ctx const& c, no_shared&) const {
    auto const groups = target.cols() / F::group;
    auto const all = target.rows() * groups;
    for (auto i = std::int64_t{c.block()} * threads + c.thread(); i < all; i += std::int64_t{c.blocks()} * threads) {
      auto const row = i / groups, group = i % groups;
      float values[F::group];
      dequantize_group<F>(source, row, group, values);
      CULL_UNROLL_FULLY
      for (std::int64_t v = 0; v < F::group; ++v) c.store(&target(row, group * F::group + v), as_target(values[v]));
    }
  }

 private:
  CULL_HD static T as_target(float value) {
    if constexpr (std::is_same_v<T, float>) {
      return value;
    } else {
      return T::encode(value);
    }
  }
};

template <class F>
inline constexpr bool is_linear_nvfp4 = false;
template <class Dialect>
inline constexpr bool is_linear_nvfp4<nvfp4<Dialect, linear>> = true;

}  // namespace simt

/// Bits as on the CPU; NaN (block scales 0x7f, 0xff) stay NaN. NVFP4 whose codes and rows are aligned goes by warps, the rest by
/// groups.
template <simt::device_executor E>
struct impl<dequantize_op, E> {
  template <matrix_format F, class T>
  static void run(E const& exec, matrix<F, device_memory> const& source, matrix_view<T, device_memory> target) {
    if (target.rows() == 0 || target.cols() == 0) return;
    if constexpr (simt::is_linear_nvfp4<F>) {
      if (fits(source, target)) {
        auto const tiles = simt::warp_tiles_of(target.rows(), target.cols());
        simt::dequantize_nvfp4<typename F::dialect, T> const body{source.parts, target, tiles};
        return exec.launch(tiles.grid(body.threads), body);
      }
    }
    simt::dequantize_groups<F, T> const body{source.parts, target};
    exec.launch(simt::grid_of(target.rows() * (target.cols() / F::group), body.threads), body);
  }

 private:
  template <class F, class T>
  static bool fits(matrix<F, device_memory> const& source, matrix_view<T, device_memory> target) {
    auto const place = [](auto const* p) { return reinterpret_cast<std::uintptr_t>(p); };
    return source.parts.cols == source.cols && place(source.parts.codes) % 4 == 0 && place(target.data()) % 16 == 0 &&
           (target.rows() == 1 || target.stride() * static_cast<std::int64_t>(sizeof(T)) % 16 == 0);
  }
};

CULL_NAMESPACE_END
