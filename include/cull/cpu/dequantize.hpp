// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

#include <cull/cpu/on_cpu.hpp>
#include <cull/cpu/packed_rows.hpp>
#include <cull/cpu/past_caches.hpp>
#include <cull/cpu/x86/unpack.hpp>
#include <cull/tensor/dequantize.hpp>

CULL_NAMESPACE_BEGIN

/// NVFP4 and MXFP4 by kernels with one rounding per value as the reference has, written past the caches where the target is
/// larger than those; every other format, and where there is no kernel, by the reference: row by row, group by group.
template <>
struct impl<dequantize_op, on_cpu> {
  template <matrix_format F, class T>
  static void run(on_cpu const& exec, matrix<F> const& source, matrix_view<T> target) {
#if CULL_X86
    // Tables take a microsecond, which a small matrix does not repay.
    if constexpr (detail::packed_rows<F>::known && !std::is_same_v<T, f16>) {
      bool const large = source.rows * source.cols >= 4096;
      if (large && exec.level() >= isa::avx512) return unpack<detail::unpack_avx512>(exec, source, target);
      if (large && exec.level() == isa::avx2) return unpack<detail::unpack_avx2>(exec, source, target);
    }
#endif
    for_each_index(exec, source.rows, [&](std::int64_t row) { reference(source, target, row, 0); });
  }

 private:
  /// Columns from group `first` on.
  template <matrix_format F, class T>
  static void reference(matrix<F> const& source, matrix_view<T> target, std::int64_t row, std::int64_t first) {
    float values[F::group];
    for (std::int64_t g = first; g < source.cols / F::group; ++g) {
      dequantize_group<F>(source.parts, row, g, values);
      for (std::int64_t i = 0; i < F::group; ++i) {
        if constexpr (std::is_same_v<T, float>) {
          target(row, g * F::group + i) = values[i];
        } else {
          target(row, g * F::group + i) = T::encode(values[i]);
        }
      }
    }
  }

#if CULL_X86
  static constexpr std::int64_t task_bytes = std::int64_t{256} << 10;

  template <class Kernel, class F, class T>
  static void unpack(on_cpu const& exec, matrix<F> const& source, matrix_view<T> target) {
    using packed = detail::packed_rows<F>;
    detail::unpack_tables tables;
    for (int scale = 0; scale < 256; ++scale)
      tables.factors[scale] = packed::factor(source.parts, static_cast<std::uint8_t>(scale));
    if constexpr (!std::is_same_v<T, float>)
      Kernel::template fill_products<packed::signed_scales>(tables.factors, &tables.products[0][0]);
    auto const row_bytes = target.stride() * static_cast<std::int64_t>(sizeof(T));
    bool const aligned = reinterpret_cast<std::uintptr_t>(target.data()) % 64 == 0 && row_bytes % 64 == 0;
    bool const streamed = aligned && source.rows * row_bytes >= detail::past_caches;
    auto const at_once = std::max<std::int64_t>(1, task_bytes / std::max<std::int64_t>(row_bytes, 1));
    for_each_index(exec, (source.rows + at_once - 1) / at_once, [&](std::int64_t task) {
      auto const last = std::min((task + 1) * at_once, source.rows);
      if (streamed) {
        unpack_rows<Kernel, detail::streamed_store>(source, target, tables, task * at_once, last);
        _mm_sfence();
      } else {
        unpack_rows<Kernel, detail::cached_store>(source, target, tables, task * at_once, last);
      }
    });
  }

  template <class Kernel, class Store, class F, class T>
  static void unpack_rows(matrix<F> const& source, matrix_view<T> target, detail::unpack_tables const& tables, std::int64_t first,
                          std::int64_t last) {
    using packed = detail::packed_rows<F>;
    auto const blocks = source.cols / packed::block;
    std::vector<std::uint8_t> gathered(static_cast<std::size_t>(blocks));
    for (std::int64_t row = first; row < last; ++row) {
      auto const* const scales = packed::scales(source.parts, row, 0, blocks, gathered.data());
      auto* const out = target.row(row).data();
      using out_pointer = std::conditional_t<std::is_same_v<T, float>, float, std::uint16_t>*;
      Kernel::template run<packed::block, Store>(packed::codes(source.parts, row), scales, tables, source.cols / 32,
                                                 reinterpret_cast<out_pointer>(out));
      if (source.cols % 32 != 0) reference(source, target, row, blocks - 1);
    }
  }
#endif
};

CULL_NAMESPACE_END
