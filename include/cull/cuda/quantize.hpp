// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>

#include <cull/cuda/context.hpp>
#include <cull/cuda/device_buffer.hpp>
#include <cull/cuda/warp_tiles.hpp>
#include <cull/numeric/bf16.hpp>
#include <cull/tensor/quantize.hpp>

CULL_NAMESPACE_BEGIN

/// Device memory that `quantize` fills: codes [rows, cols/2], block scales [rows, cols/16], one tensor scale.
struct nvfp4_target {
  std::uint8_t* codes = nullptr;
  std::uint8_t* scales = nullptr;
  float* tensor_scale = nullptr;
};

namespace simt {

/// Four f32 or eight bf16, 16 bytes of a source, as f32.
template <class T>
struct source_chunk {
  static constexpr int values = 16 / sizeof(T);
  float x[values];

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD static source_chunk load(Ctx const& c, T const* p) {
    auto const raw = c.load(reinterpret_cast<pack<T, values> const*>(p), streamed{});
    source_chunk out;
    CULL_UNROLL_FULLY
    for (int i = 0; i < values; ++i) {
      if constexpr (std::is_same_v<T, float>) {
        out.x[i] = raw[i];
      } else {
        out.x[i] = raw[i].decode();
      }
    }
    return out;
  }

  CULL_HD float amax() const {
    float most = 0.0f;
    CULL_UNROLL_FULLY
    for (int i = 0; i < values; ++i) {
      float const a = x[i] < 0.0f ? -x[i] : x[i];
      most = a > most ? a : most;
    }
    return most;
  }
};

/// First pass: the greatest magnitude of a tensor, by its bits, so that infinity and NaN show as more than any number.
template <class T>
struct find_amax {
  static constexpr unsigned threads = 256;
  using Shared = no_shared;

  matrix_view<T const, device_memory> source;
  std::uint32_t* amax_bits;

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void operator()(Ctx const& c, no_shared&) const {
    constexpr int step = 32 * source_chunk<T>::values;
    std::uint32_t most = 0;
    for_each_warp_tile(c, source.rows(), source.cols(), [&](std::int64_t row, std::int64_t first) {
      CULL_UNROLL_FULLY
      for (int s = 0; s < warp_tile / step; ++s) {
        auto const col = first + s * step + static_cast<int>(c.lane()) * source_chunk<T>::values;
        if (col >= source.cols()) continue;
        auto const chunk = source_chunk<T>::load(c, &source(row, col));
        CULL_UNROLL_FULLY
        for (float const x : chunk.x) {
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

/// Second pass, modelopt's dialect: a warp codes 512 columns of a row. The lanes of a block of 16 find its amax by shuffle, each
/// codes its own chunk; the 32 scales are gathered and stored as one sector.
template <class T>
struct quantize_modelopt {
  static constexpr unsigned threads = 256;
  using Shared = no_shared;
  using chunk = source_chunk<T>;
  static constexpr int step = 32 * chunk::values;
  static constexpr unsigned lanes_of_block = 16 / chunk::values;

  matrix_view<T const, device_memory> source;
  nvfp4_target target;
  std::uint32_t const* amax_bits;
  float given_scale;  ///< the tensor scale, or negative: amax / 2688

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void operator()(Ctx const& c, no_shared&) const {
    auto const bits = c.load(amax_bits);
    bool const finite = bits < 0x7f800000u;
    float const own = bits_as<float>(bits) / 2688.0f;
    float const tensor_scale = given_scale >= 0.0f ? given_scale : own;
    if (c.block() == 0 && c.thread() == 0) {
      c.store(target.tensor_scale, finite ? tensor_scale : bits_as<float>(0x7fc00000u));
    }
    if (!finite) return;
    for_each_warp_tile(c, source.rows(), source.cols(),
                       [&](std::int64_t row, std::int64_t first) { code_tile(c, row, first, tensor_scale); });
  }

 private:
  using code_word = std::conditional_t<chunk::values == 8, std::uint32_t, std::uint16_t>;

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void code_tile(Ctx const& c, std::int64_t row, std::int64_t first, float tensor_scale) const {
    unsigned mine = 0;  // the scale of block `lane` of the tile
    CULL_UNROLL_FULLY
    for (int s = 0; s < warp_tile / step; ++s) {
      auto const col = first + s * step + static_cast<int>(c.lane()) * chunk::values;
      bool const inside = col < source.cols();
      chunk const values = inside ? chunk::load(c, &source(row, col)) : chunk{};
      float amax = values.amax();
      CULL_UNROLL_FULLY
      for (unsigned bit = 1; bit < lanes_of_block; bit *= 2) {
        float const other = c.shuffle_xor(amax, bit);
        amax = other > amax ? other : amax;
      }
      e4m3 const scale = modelopt_block_scale(amax, tensor_scale);
      if (inside) store_codes(c, row, col, values, scale.decode() * tensor_scale, tensor_scale);
      constexpr unsigned blocks = step / 16;
      unsigned const gathered = c.shuffle(unsigned{scale.bits}, c.lane() % blocks * lanes_of_block);
      if (c.lane() / blocks == static_cast<unsigned>(s)) mine = gathered;
    }
    auto const block = first / 16 + c.lane();
    if (block < source.cols() / 16) {
      c.store(target.scales + row * (source.cols() / 16) + block, static_cast<std::uint8_t>(mine), streamed{});
    }
  }

  CULL_EXEC_CHECK_OFF
  template <class Ctx>
  CULL_HD void store_codes(Ctx const& c, std::int64_t row, std::int64_t col, chunk const& values, float divisor,
                           float tensor_scale) const {
    std::uint32_t word = 0;
    CULL_UNROLL_FULLY
    for (int i = 0; i < chunk::values; ++i) {
      word |= std::uint32_t{modelopt_code(values.x[i], divisor, tensor_scale).bits} << (4 * i);
    }
    auto* const to = target.codes + row * (source.cols() / 2) + col / 2;
    c.store(reinterpret_cast<code_word*>(to), static_cast<code_word>(word), streamed{});
  }
};

}  // namespace simt

struct quantize_into_op;

template <simt::device_executor E>
struct impl<quantize_into_op, E> {
  template <class T>
  static void run(E const& exec, matrix_view<T const, device_memory> source, nvfp4_target target,
                  std::optional<float> tensor_scale) {
    device_buffer<std::uint32_t, E> amax{exec, 1};
    amax.fill_zero();
    auto const grid = simt::warp_tile_grid(source.rows(), source.cols(), 256);
    exec.launch(grid, simt::find_amax<T>{source, amax.data()});
    exec.launch(grid, simt::quantize_modelopt<T>{source, target, amax.data(), tensor_scale.value_or(-1.0f)});
  }
};

/// Quantises `source` [rows, cols] (f32 or bf16, on the device) into `target`, byte for byte as `quantize` on the CPU in
/// modelopt's dialect; enqueued. Where the source holds NaN or infinity, `target.tensor_scale` becomes NaN and nothing else is
/// written; `quantized` reports it. Throws `errc::shape_mismatch` (cols not a multiple of 16; rows or target not aligned to 16
/// and 4 bytes), `errc::not_finite` (a tensor scale that is not finite and >= 0).
template <class Exec, class T>
requires quantize_source<T> && implemented_on<quantize_into_op, Exec>
void quantize(Exec const& exec, modelopt, matrix_view<T, device_memory> source, nvfp4_target target,
              std::optional<float> tensor_scale = {}) {
  detail::check_quantize_columns(source.cols(), 16);
  if (tensor_scale && !(*tensor_scale >= 0.0f && *tensor_scale <= 3.4028235e38f)) {
    throw error{errc::not_finite, "quantize: the tensor scale must be finite and not negative"};
  }
  auto const place = [](void const* p) { return reinterpret_cast<std::uintptr_t>(p); };
  if (place(source.data()) % 16 != 0 || (source.rows() > 1 && source.stride() * static_cast<std::int64_t>(sizeof(T)) % 16 != 0) ||
      place(target.codes) % 4 != 0) {
    throw error{errc::shape_mismatch,
                "quantize: rows of the source must begin at multiples of 16 bytes, codes at multiples of 4"};
  }
  impl<quantize_into_op, Exec>::run(exec, matrix_view<std::remove_const_t<T> const, device_memory>{source}, target, tensor_scale);
}

/// The matrix that `quantize` has made: waits for the executor, since a matrix holds its tensor scale. Throws `errc::not_finite`.
template <simt::device_executor Exec>
matrix<nvfp4_modelopt, device_memory> quantized(Exec const& exec, nvfp4_target target, std::int64_t rows, std::int64_t cols) {
  float scale = 0.0f;
  exec.copy_out(&scale, target.tensor_scale, sizeof scale);
  exec.synchronize();
  if (std::isnan(scale)) throw error{errc::not_finite, "quantize: NaN or infinity in the source"};
  return {{target.codes, target.scales, scale, cols}, rows, cols};
}

CULL_NAMESPACE_END
