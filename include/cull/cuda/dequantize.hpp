// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <concepts>
#include <cstdint>
#include <numeric>
#include <type_traits>

#include <cull/cuda/context.hpp>
#include <cull/cuda/warp_tiles.hpp>
#include <cull/numeric/bf16.hpp>
#include <cull/numeric/e8m0.hpp>
#include <cull/numeric/f16.hpp>
#include <cull/tensor/dequantize.hpp>
#include <cull/tensor/mxfp4.hpp>
#include <cull/tensor/nvfp4.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// How warps share out a format: 32 block scales that lie side by side and fill one sector, with the codes they belong to.
/// Defined for the formats that `dequantize_fp4` takes.
///
/// `columns`: of a tile; `rows(matrix rows)`: rows of tiles. `place(tile row, first column, i)`: where the i-th value of a tile
/// is in the matrix; `scale(parts, ...)`: where a lane's scale is, or -1; `factor`: what it multiplies its block's codes with.
template <class F>
struct fp4_tiles;

struct matrix_place {
  std::uint32_t row;
  std::uint32_t col;
};

/// Scales in rows: a tile is a part of a row.
template <class F>
struct fp4_tiles_in_rows {
  static constexpr int columns = 32 * static_cast<int>(F::group);
  static constexpr bool row_steps = true;

  static constexpr std::int64_t rows(std::int64_t of_matrix) { return of_matrix; }
  CULL_HD static matrix_place place(std::uint32_t row, std::uint32_t first, unsigned i) { return {row, first + i}; }
  CULL_HD static std::int64_t scale(typename F::parts const& p, std::uint32_t row, std::uint32_t first, unsigned lane) {
    auto const blocks = p.cols / F::group;
    auto const block = first / static_cast<unsigned>(F::group) + lane;
    return block < blocks ? row * p.row_step * blocks + block : -1;
  }
};

template <class Dialect>
struct fp4_tiles<nvfp4<Dialect, linear>> : fp4_tiles_in_rows<nvfp4<Dialect, linear>> {
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static float factor(Ctx const& c, typename nvfp4<Dialect, linear>::parts const& p, std::uint8_t scale) {
    return Dialect::block_multiplier(c.decode_e4m3(scale), p.tensor_scale);
  }
};

template <>
struct fp4_tiles<mxfp4> : fp4_tiles_in_rows<mxfp4> {
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static float factor(Ctx const&, mxfp4::parts const&, std::uint8_t scale) {
    return e8m0{scale}.decode();
  }
};

/// Of 128 rows' scales a sector has those of 64 columns for rows r, r + 32, r + 64, r + 96 and the row after each, r even.
template <class Dialect>
struct fp4_tiles<nvfp4<Dialect, tiled_128x4>> {
  using format = nvfp4<Dialect, tiled_128x4>;
  static constexpr int columns = 64;
  static constexpr bool row_steps = false;

  static constexpr std::int64_t rows(std::int64_t of_matrix) { return (of_matrix + 127) / 128 * 16; }
  CULL_HD static matrix_place place(std::uint32_t row, std::uint32_t first, unsigned i) {
    auto const of_tile = i / columns;
    return {row / 16 * 128 + row % 16 * 2 + of_tile / 4 + of_tile % 4 * 32, first + i % columns};
  }
  CULL_HD static std::int64_t scale(typename format::parts const& p, std::uint32_t row, std::uint32_t first, unsigned lane) {
    auto const at = place(row, first, 16 * lane);
    return tiled_128x4::offset(at.row, at.col / 16, p.cols / 16);
  }
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static float factor(Ctx const& c, typename format::parts const& p, std::uint8_t scale) {
    return Dialect::block_multiplier(c.decode_e4m3(scale), p.tensor_scale);
  }
};

/// NVFP4 or MXFP4 to T: a warp decodes a tile of 32 blocks, so that every sector it touches is used whole: the scales, a lane's
/// each, go round by shuffle; in each step the lanes store 16 adjacent bytes. Codes lie at multiples of 4 bytes, target rows at
/// multiples of 16.
template <class F, class T>
struct dequantize_fp4 {
  static constexpr unsigned threads = 256;
  using Shared = no_shared;
  using shape = fp4_tiles<F>;
  using tiling = tiles_of_width<shape::columns>;
  static constexpr int values = 16 / sizeof(T);  // of a lane, in a step
  static constexpr int step = 32 * values;       // of a warp

  typename F::parts source;
  matrix_view<T, device_memory> target;
  tiling tiles;

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void operator()(Ctx const& c, no_shared&) const {
    tiles.for_each(c, [&](std::uint32_t tile_row, std::uint32_t first) {
      float const own = own_factor(c, tile_row, first);
      CULL_UNROLL_FULLY
      for (int s = 0; s < 32 * F::group / step; ++s) {
        auto const value = static_cast<unsigned>(s * step) + c.lane() * values;
        float const factor = c.shuffle(own, value / static_cast<unsigned>(F::group));
        auto const [row, col] = shape::place(tile_row, first, value);
        if (row >= target.rows() || col >= tiles.columns) continue;
        auto const* const codes = source.codes + row * source.row_step * (source.cols / 2) + col / 2;
        c.store(chunk(row, col), converted(c, load_codes(c, codes), factor), streamed{});
      }
    });
  }

 private:
  using words = pack<std::uint32_t, 4>;
  using code_word = std::conditional_t<values == 8, std::uint32_t, std::uint16_t>;

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD float own_factor(Ctx const& c, std::uint32_t tile_row, std::uint32_t first) const {
    auto const at = shape::scale(source, tile_row, first, c.lane());
    return at >= 0 ? shape::factor(c, source, c.load(source.scales + at, streamed{})) : 0.0f;
  }

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

/// Any format, to T: a thread decodes a group with the format's own function, so that a warp reads 32 groups side by side, and
/// through shared memory the warp stores them with lanes side by side.
template <matrix_format F, class T>
struct dequantize_groups {
  static constexpr unsigned threads = 256;
  static constexpr int group = static_cast<int>(F::group);
  static constexpr int together = std::gcd(group, 16);  // values of each group that are in shared memory together
  struct Shared {
    T values[threads / 32][32 * together];
  };

  typename F::parts source;
  matrix_view<T, device_memory> target;
  tiles_of_width<32> tiles;  // of groups

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void operator()(Ctx const& c, Shared& s) const {
    tiles.for_each(c, [&](std::uint32_t row, std::uint32_t first) {
      float values[group];
      bool const inside = first + c.lane() < tiles.columns;
      if (inside) dequantize_group<F>(source, row, first + c.lane(), values);
      CULL_UNROLL_FULLY
      for (int done = 0; done < group; done += together) {
        CULL_UNROLL_FULLY
        for (int v = 0; v < together; ++v) {
          if (inside) c.store_shared(&s.values[c.warp()][place(c.lane(), v)], as_target(values[done + v]));
        }
        c.sync_warp();
        CULL_UNROLL_FULLY
        for (int i = 0; i < together; ++i) store(c, s, row, first, done, static_cast<unsigned>(i) * 32 + c.lane());
        c.sync_warp();
      }
    });
  }

 private:
  /// Without a bank conflict, whether lanes go by `of_lane` or by `value`.
  CULL_HD static unsigned place(unsigned of_lane, int value) {
    constexpr auto lanes_of_banks = static_cast<unsigned>(128 / sizeof(T) / together);
    auto const turn = of_lane / lanes_of_banks * (4 / sizeof(T)) % together;
    return of_lane * together + (static_cast<unsigned>(value) ^ static_cast<unsigned>(turn));
  }

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void store(Ctx const& c, Shared& s, std::uint32_t row, std::uint32_t first, int done, unsigned i) const {
    auto const of_lane = i / together;
    auto const value = static_cast<int>(i % together);
    if (first + of_lane >= tiles.columns) return;
    c.store(&target(row, std::int64_t{first + of_lane} * group + done + value),
            c.load_shared(&s.values[c.warp()][place(of_lane, value)]), streamed{});
  }

  CULL_HD static T as_target(float value) {
    if constexpr (std::is_same_v<T, float>) {
      return value;
    } else {
      return T::encode(value);
    }
  }
};

}  // namespace simt

/// Bits as on the CPU; NaN (block scales 0x7f and 0xff of e4m3, 0xff of e8m0) stay NaN. NVFP4 and MXFP4 whose codes and rows are
/// aligned go by warps, the rest by groups.
template <simt::device_executor E>
struct impl<dequantize_op, E> {
  template <matrix_format F, class T>
  static void run(E const& exec, matrix<F, device_memory> const& source, matrix_view<T, device_memory> target) {
    if (target.rows() == 0 || target.cols() == 0) return;
    if constexpr (requires { simt::fp4_tiles<F>::columns; }) {
      using shape = simt::fp4_tiles<F>;
      if (fits(source, target) && (shape::row_steps || source.parts.row_step == 1)) {
        auto const tiles = simt::warp_tiles_of<shape::columns>(shape::rows(target.rows()), target.cols());
        return exec.launch(tiles.grid(256), simt::dequantize_fp4<F, T>{source.parts, target, tiles});
      }
    }
    auto const tiles = simt::warp_tiles_of<32>(target.rows(), target.cols() / F::group);
    exec.launch(tiles.grid(256), simt::dequantize_groups<F, T>{source.parts, target, tiles});
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
