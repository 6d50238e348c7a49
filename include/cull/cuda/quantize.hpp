// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>

#include <cull/cuda/context.hpp>
#include <cull/cuda/device_buffer.hpp>
#include <cull/cuda/find_amax.hpp>
#include <cull/cuda/source_tile.hpp>
#include <cull/cuda/warp_tiles.hpp>
#include <cull/numeric/block_quotient.hpp>
#include <cull/tensor/quantize.hpp>

CULL_NAMESPACE_BEGIN

/// Device memory that `quantize` fills: codes [rows, cols/2], block scales [rows, cols/16], one tensor scale.
struct nvfp4_target {
  std::uint8_t* codes = nullptr;
  std::uint8_t* scales = nullptr;
  float* tensor_scale = nullptr;
};

namespace simt {

/// What a dialect of NVFP4 does with a block, `factor` being its scale of the whole tensor. Where `quick` says so the scale and
/// the divisor have the same bits without a division.
template <class Dialect>
struct quantize_rule;

template <>
struct quantize_rule<modelopt> {
  float factor;

  static constexpr float greatest_divisor = detail::block_quotient::most;
  CULL_HD static float factor_of(float amax) { return amax / 2688.0f; }
  CULL_HD float scale(float amax) const { return modelopt_block_scale(amax, factor); }
  CULL_HD float divisor(float scale) const { return scale * factor; }
  CULL_HD static bool quick(float) { return true; }
  template <class C>
  CULL_HD float quick_scale(C const&, float amax) const {
    return scale(amax);
  }
  template <class C>
  CULL_HD float quick_divisor(C const&, float scale) const {
    return divisor(scale);
  }
  CULL_HD e2m1 code(float x, float divisor) const { return modelopt_code(x, divisor, factor); }
};

template <>
struct quantize_rule<compressed_tensors> {
  float factor;
  float reciprocal = 1.0f / factor;

  // Above, the quotient of a subnormal can be zero, and then its sign is not coded.
  static constexpr float greatest_divisor = 0.5f;
  CULL_HD static float factor_of(float amax) {
    float const own = 2688.0f * (1.0f / amax);
    return own <= 3.4028235e38f ? own : 1.0f;
  }
  CULL_HD float scale(float amax) const { return compressed_block_scale(amax, factor); }
  CULL_HD float divisor(float scale) const { return scale / factor; }
  /// Zero, or so great that all of its quotients' rests are numbers of f32.
  CULL_HD bool quick(float amax) const {
    return bits_as<std::uint32_t>(amax) - 1u >= bits_as<std::uint32_t>(0x1p-100f) - 1u && factor >= 0x1p-100f &&
           factor <= 0x1p+100f;
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD float quick_scale(C const& c, float amax) const {
    return compressed_block_scale_of(detail::quotient_by_reciprocal(c, amax, 6.0f, 1.0f / 6.0f), factor);
  }
  CULL_EXEC_CHECK_OFF
  template <class C>
  CULL_HD float quick_divisor(C const& c, float scale) const {
    return detail::quotient_by_reciprocal(c, scale, factor, reciprocal);
  }
  CULL_HD e2m1 code(float x, float divisor) const { return compressed_code(x, divisor); }
};

/// Second pass: a warp codes 512 columns of a row. Each lane finds one block's scale, divisor and reciprocal; the lanes of a
/// block get them by shuffle and code what they have loaded. Where `block_quotient` does not serve, the warp codes all of its
/// tiles again with true divisions.
template <class Dialect, class T>
struct quantize_nvfp4 {
  static constexpr unsigned threads = 256;
  using Shared = no_shared;
  using rule = quantize_rule<Dialect>;
  using tile = source_tile<T>;

  matrix_view<T const, device_memory> source;
  warp_tiles tiles;
  nvfp4_target target;
  std::uint32_t const* amax_bits;
  float given_factor;  ///< the scale of the tensor, or negative: from its amax

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void operator()(Ctx const& c, no_shared&) const {
    auto const bits = c.load(amax_bits);
    bool const finite = bits < 0x7f800000u;
    rule const r{given_factor >= 0.0f ? given_factor : rule::factor_of(bits_as<float>(bits))};
    if (c.block() == 0 && c.thread() == 0) c.store(target.tensor_scale, finite ? r.factor : bits_as<float>(0x7fc00000u));
    if (!finite) return;
    bool served = true;
    tiles.for_each(c, [&](std::uint32_t row, std::uint32_t first) { served = code_tile(c, r, row, first) && served; });
    if (c.ballot(!served) == 0) return;
    c.sync_warp();
    tiles.for_each(c, [&](std::uint32_t row, std::uint32_t first) { divide_tile(c, r, row, first); });
  }

 private:
  using code_word = std::conditional_t<tile::values == 8, std::uint32_t, std::uint16_t>;

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD bool code_tile(Ctx const& c, rule const& r, std::uint32_t row, std::uint32_t first) const {
    auto const values = tile::load(c, source, tiles.columns, row, first);
    float const amax = values.own_amax(c);
    auto const scale = c.encode_e4m3(r.quick_scale(c, amax));
    float const divisor = r.quick_divisor(c, c.decode_e4m3(scale));
    bool const served = r.quick(amax) && detail::block_quotient::serves(divisor, amax, rule::greatest_divisor);
    float const reciprocal = detail::block_quotient::reciprocal_of(c, divisor);
    auto const block = first / 16 + tile::own_block(c);
    if (block < tiles.columns / 16) c.store(scales_of(row) + block, scale, streamed{});
    constexpr int steps_of_word = 8 / tile::values;
    CULL_UNROLL_FULLY
    for (int s = 0; s < tile::steps; s += steps_of_word) {
      float quotients[8];
      CULL_UNROLL_FULLY
      for (int part = 0; part < steps_of_word; ++part) {
        auto const owner = tile::owner(c, s + part);
        detail::block_quotient const over{c.shuffle(divisor, owner), c.shuffle(reciprocal, owner)};
        CULL_UNROLL_FULLY
        for (int i = 0; i < tile::values; ++i) quotients[part * tile::values + i] = over(c, values.x[s + part][i]);
      }
      auto const word = c.pack_e2m1(quotients);
      CULL_UNROLL_FULLY
      for (int part = 0; part < steps_of_word; ++part) {
        auto const col = tile::column(c, first, s + part);
        if (col < tiles.columns) c.store(codes_at<code_word>(row, col), static_cast<code_word>(word >> (16 * part)), streamed{});
      }
    }
    return served;
  }

  /// A lane has a block of 16.
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void divide_tile(Ctx const& c, rule const& r, std::uint32_t row, std::uint32_t first) const {
    auto const col = first + 16 * c.lane();
    if (col >= tiles.columns) return;
    float amax = 0.0f;
    CULL_UNROLL_NOT
    for (unsigned i = 0; i < 16; ++i) amax = c.max_magnitude(amax, value(c, row, col + i));
    auto const scale = c.encode_e4m3(r.scale(amax));
    c.store(scales_of(row) + col / 16, scale);
    float const divisor = r.divisor(c.decode_e4m3(scale));
    CULL_UNROLL_NOT
    for (unsigned first_of_word = 0; first_of_word < 16; first_of_word += 8) {
      std::uint32_t word = 0;
      CULL_UNROLL_NOT
      for (unsigned i = 0; i < 8; ++i)
        word |= std::uint32_t{r.code(value(c, row, col + first_of_word + i), divisor).bits} << (4 * i);
      c.store(codes_at<std::uint32_t>(row, col + first_of_word), word);
    }
  }

  template <class Word>
  CULL_HD Word* codes_at(std::uint32_t row, std::uint32_t col) const {
    return reinterpret_cast<Word*>(target.codes + std::uint64_t{row} * (tiles.columns / 2) + col / 2);
  }
  CULL_HD std::uint8_t* scales_of(std::uint32_t row) const { return target.scales + std::uint64_t{row} * (tiles.columns / 16); }
  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD float value(Ctx const& c, std::uint32_t row, std::uint32_t col) const {
    if constexpr (std::is_same_v<T, float>) {
      return c.load(&source(row, col));
    } else {
      return c.load(&source(row, col)).decode();
    }
  }
};

}  // namespace simt

struct quantize_into_op;

template <simt::device_executor E>
struct impl<quantize_into_op, E> {
  template <class Dialect, class T>
  static void run(E const& exec, Dialect, matrix_view<T const, device_memory> source, nvfp4_target target,
                  std::optional<float> factor) {
    device_buffer<std::uint32_t, E> amax{exec, 1};
    amax.fill_zero();
    auto const tiles = simt::warp_tiles_of(source.rows(), source.cols());
    auto const grid = tiles.grid(256);
    exec.launch(grid, simt::find_amax<T>{source, tiles, amax.data()});
    exec.launch(grid, simt::quantize_nvfp4<Dialect, T>{source, tiles, target, amax.data(), factor.value_or(-1.0f)});
  }
};

namespace detail {

template <class T>
void check_quantize_places(matrix_view<T, device_memory> source, nvfp4_target target) {
  check_quantize_columns(source.cols(), 16);
  auto const place = [](void const* p) { return reinterpret_cast<std::uintptr_t>(p); };
  if (place(source.data()) % 16 != 0 || (source.rows() > 1 && source.stride() * static_cast<std::int64_t>(sizeof(T)) % 16 != 0) ||
      place(target.codes) % 4 != 0) {
    throw error{errc::shape_mismatch,
                "quantize: rows of the source must begin at multiples of 16 bytes, codes at multiples of 4"};
  }
}

}  // namespace detail

/// Quantises `source` [rows, cols] (f32 or bf16, on the device) into `target`, byte for byte as `quantize` on the CPU in
/// modelopt's dialect; enqueued. Where the source holds NaN or infinity, `target.tensor_scale` becomes NaN and nothing else is
/// written; `quantized` reports it. Throws `errc::shape_mismatch` (cols not a multiple of 16; rows or target not aligned to 16
/// and 4 bytes), `errc::not_finite` (a tensor scale that is not finite and >= 0).
template <class Exec, class T>
requires quantize_source<T> && implemented_on<quantize_into_op, Exec>
void quantize(Exec const& exec, modelopt dialect, matrix_view<T, device_memory> source, nvfp4_target target,
              std::optional<float> tensor_scale = {}) {
  detail::check_quantize_places(source, target);
  if (tensor_scale && !(*tensor_scale >= 0.0f && *tensor_scale <= 3.4028235e38f)) {
    throw error{errc::not_finite, "quantize: the tensor scale must be finite and not negative"};
  }
  impl<quantize_into_op, Exec>::run(exec, dialect, matrix_view<std::remove_const_t<T> const, device_memory>{source}, target,
                                    tensor_scale);
}

/// The same in compressed-tensors' dialect: `target.tensor_scale` gets the global scale, a divisor; one that is given must be
/// positive.
template <class Exec, class T>
requires quantize_source<T> && implemented_on<quantize_into_op, Exec>
void quantize(Exec const& exec, compressed_tensors dialect, matrix_view<T, device_memory> source, nvfp4_target target,
              std::optional<float> global_scale = {}) {
  detail::check_quantize_places(source, target);
  if (global_scale && !(*global_scale > 0.0f && *global_scale <= 3.4028235e38f)) {
    throw error{errc::not_finite, "quantize: the global scale must be finite and positive"};
  }
  impl<quantize_into_op, Exec>::run(exec, dialect, matrix_view<std::remove_const_t<T> const, device_memory>{source}, target,
                                    global_scale);
}

/// The matrix that `quantize` has made: waits for the executor, since a matrix holds its tensor scale. Throws `errc::not_finite`.
template <class Dialect = modelopt, simt::device_executor Exec>
matrix<nvfp4<Dialect>, device_memory> quantized(Exec const& exec, nvfp4_target target, std::int64_t rows, std::int64_t cols) {
  float scale = 0.0f;
  exec.copy_out(&scale, target.tensor_scale, sizeof scale);
  exec.synchronize();
  if (std::isnan(scale)) throw error{errc::not_finite, "quantize: NaN or infinity in the source"};
  return {{target.codes, target.scales, scale, cols}, rows, cols};
}

CULL_NAMESPACE_END
