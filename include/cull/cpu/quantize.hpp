// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include <cull/cpu/on_cpu.hpp>
#include <cull/cpu/past_caches.hpp>
#include <cull/cpu/x86/pack.hpp>
#include <cull/cpu/x86/pack_avx512.hpp>
#include <cull/cpu/x86/pack_vbmi.hpp>
#include <cull/tensor/quantize.hpp>

CULL_NAMESPACE_BEGIN

/// NVFP4 by kernels with the reference's divisions and roundings: one pass over the source where the tensor's scale is given, one
/// more for its amax where not. MXFP4, other machines and scales out of the kernels' range: block by block.
template <>
struct impl<quantize_op, on_cpu> {
  template <class T>
  static void run(on_cpu const& exec, modelopt, matrix_view<T> source, nvfp4_buffer& target, std::optional<float> tensor_scale) {
    target.tensor_scale = tensor_scale ? *tensor_scale : checked_amax(exec, source) / 2688.0f;
    fill<16, modelopt>(exec, source, target, target.tensor_scale, [&](float const* values, std::uint8_t* codes) {
      return quantize_block_modelopt(values, target.tensor_scale, codes).bits;
    });
  }

  template <class T>
  static void run(on_cpu const& exec, compressed_tensors, matrix_view<T> source, nvfp4_compressed_buffer& target,
                  std::optional<float> global_scale) {
    // Two roundings, since torch divides a number by a tensor as number * reciprocal.
    float const own = global_scale ? *global_scale : 2688.0f * (1.0f / checked_amax(exec, source));
    target.global_scale = std::isfinite(own) ? own : 1.0f;
    fill<16, compressed_tensors>(exec, source, target, target.global_scale, [&](float const* values, std::uint8_t* codes) {
      return quantize_block_compressed(values, target.global_scale, codes).bits;
    });
  }

  template <class T>
  static void run(on_cpu const& exec, mxfp4_modelopt, matrix_view<T> source, mxfp4_buffer& target) {
    fill<32, void>(exec, source, target, 1.0f,
                   [](float const* values, std::uint8_t* codes) { return quantize_block_mxfp4_modelopt(values, codes).bits; });
  }

 private:
  static constexpr std::uint32_t infinity_bits = 0x7f800000u;
  static constexpr std::int64_t task_values = std::int64_t{1} << 16;

  static float as_float(float value) { return value; }
  static float as_float(bf16 value) { return value.decode(); }
  static float const* as_words(float const* values) { return values; }
  static std::uint16_t const* as_words(bf16 const* values) { return reinterpret_cast<std::uint16_t const*>(values); }

  /// Whether codes are written past the caches: those of f32; bf16 has half the bytes to read for as much arithmetic, and gained
  /// nothing.
  template <class T, class Codes>
  static bool goes_past_caches(Codes const& codes, std::int64_t row_bytes) {
    bool const aligned = reinterpret_cast<std::uintptr_t>(codes.data()) % 16 == 0 && row_bytes % 16 == 0;
    return sizeof(T) == 4 && aligned && static_cast<std::int64_t>(codes.size()) >= detail::past_caches;
  }

  /// Rows in tasks of some size; `end()` behind the last of each.
  template <class T, class Body, class End>
  static void for_each_row(on_cpu const& exec, matrix_view<T> source, Body&& body, End&& end) {
    auto const at_once = std::max<std::int64_t>(1, task_values / std::max<std::int64_t>(source.cols(), 1));
    for_each_index(exec, (source.rows() + at_once - 1) / at_once, [&](std::int64_t task) {
      for (auto row = task * at_once; row < std::min((task + 1) * at_once, source.rows()); ++row) body(row);
      end();
    });
  }

  /// Whoever reads what was written past the caches, or writes it again, comes after it.
  static void wait_for_streamed([[maybe_unused]] bool streamed) {
#if CULL_X86
    if (streamed) _mm_sfence();
#endif
  }

  /// `block(values, codes)` writes the codes of `size` values and returns their scale.
  template <std::int64_t size, class Dialect, class T, class Buffer, class Block>
  static void fill(on_cpu const& exec, matrix_view<T> source, Buffer& target, float scale, Block block) {
    target.rows = source.rows();
    target.cols = source.cols();
    target.codes.resize(static_cast<std::size_t>(source.rows() * source.cols() / 2));
    target.scales.resize(static_cast<std::size_t>(source.rows() * source.cols() / size));
    std::int64_t const blocks = source.cols() / size;
    bool const streamed = goes_past_caches<T>(target.codes, blocks * size / 2);
    for_each_row(
        exec, source,
        [&](std::int64_t row) {
          detail::packed_target const to{target.codes.data() + row * blocks * size / 2, target.scales.data() + row * blocks,
                                         streamed};
          std::int64_t done = 0;
          if constexpr (!std::is_void_v<Dialect>) done = packed<Dialect>(exec.level(), source.row(row), row, scale, to);
          check_finite(source.row(row), row, done * size);
          float values[size];
          for (std::int64_t b = done; b < blocks; ++b) {
            for (std::int64_t i = 0; i < size; ++i) values[i] = as_float(source(row, b * size + i));
            to.scales[b] = block(values, to.codes + size / 2 * b);
          }
        },
        [&] { wait_for_streamed(streamed); });
  }

  /// How many blocks of a row a kernel has done.
  template <class Dialect, class T>
  static std::int64_t packed([[maybe_unused]] isa level, [[maybe_unused]] array_view<T> values, [[maybe_unused]] std::int64_t row,
                             [[maybe_unused]] float scale, [[maybe_unused]] detail::packed_target to) {
#if CULL_X86
    if (level >= isa::avx512_bf16) return packed_by<detail::pack_vbmi, Dialect>(values, row, scale, to);
    if (level >= isa::avx512) return packed_by<detail::pack_avx512, Dialect>(values, row, scale, to);
    if (level == isa::avx2) return packed_by<detail::pack_avx2, Dialect>(values, row, scale, to);
#endif
    return 0;
  }

#if CULL_X86
  template <class Kernel, class Dialect, class T>
  static std::int64_t packed_by(array_view<T> values, std::int64_t row, float scale, detail::packed_target to) {
    if (!detail::pack_range<Dialect>(scale, 0.0f)) return 0;
    auto const blocks = values.size() / 16 / Kernel::unit * Kernel::unit;
    auto const amax = Kernel::template row<Dialect>(as_words(values.data()), blocks, scale, to);
    bool const served = detail::pack_range<Dialect>(scale, std::bit_cast<float>(amax));  // false for NaN and infinity
    if (!served) wait_for_streamed(to.streamed);
    if (amax >= infinity_bits) refuse(row);
    return served ? blocks : 0;
  }
#endif

  [[noreturn]] static void refuse(std::int64_t row) {
    throw error{errc::not_finite, "quantize: NaN or infinity in row " + std::to_string(row)};
  }
  template <class T>
  static void check_finite(array_view<T> values, std::int64_t row, std::int64_t first) {
    for (auto i = first; i < values.size(); ++i) {
      if (!std::isfinite(as_float(values[i]))) refuse(row);
    }
  }

  template <class T>
  static float checked_amax(on_cpu const& exec, matrix_view<T> source) {
    std::vector<float> rows(static_cast<std::size_t>(source.rows()), 0.0f);
    for_each_row(
        exec, source,
        [&](std::int64_t row) { rows[static_cast<std::size_t>(row)] = row_amax(exec.level(), source.row(row), row); }, [] {});
    return rows.empty() ? 0.0f : *std::max_element(rows.begin(), rows.end());
  }

  template <class T>
  static float row_amax([[maybe_unused]] isa level, array_view<T> values, std::int64_t row) {
    float amax = 0.0f;
    std::int64_t done = 0;
#if CULL_X86
    if (level >= isa::avx2) {
      auto const blocks = values.size() / 16;
      auto const bits = level >= isa::avx512 ? detail::pack_avx512::amax_bits(as_words(values.data()), blocks)
                                             : detail::pack_avx2::amax_bits(as_words(values.data()), blocks);
      if (bits >= infinity_bits) refuse(row);
      amax = std::bit_cast<float>(bits);
      done = 16 * blocks;
    }
#endif
    check_finite(values, row, done);
    for (auto i = done; i < values.size(); ++i) amax = std::max(amax, std::fabs(as_float(values[i])));
    return amax;
  }
};

CULL_NAMESPACE_END
