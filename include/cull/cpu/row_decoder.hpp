// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/cpu/aligned_buffer.hpp>
#include <cull/cpu/packed_rows.hpp>
#include <cull/tensor/fp8.hpp>
#include <cull/tensor/matrix.hpp>
#include <cull/tensor/mxfp4.hpp>
#include <cull/tensor/nvfp4.hpp>
#include <cull/tensor/plain.hpp>

CULL_NAMESPACE_BEGIN

/// True for formats whose decoded values, without the outer scale, are bf16 values, so that bf16 products lose nothing of the
/// weights. A user's format may specialise it.
template <class F>
inline constexpr bool exact_in_bf16 = false;
template <class Dialect, class Layout>
inline constexpr bool exact_in_bf16<nvfp4<Dialect, Layout>> = true;
template <>
inline constexpr bool exact_in_bf16<mxfp4> = true;
template <>
inline constexpr bool exact_in_bf16<fp8_tensor> = true;
template <>
inline constexpr bool exact_in_bf16<bf16_format> = true;

namespace detail {

/// What a kernel may count on in a format's weights; each says what those before it do.
enum class weight_kind : std::uint8_t {
  any,
  exact_in_bf16,
  nvfp4_rows,  ///< codes and block scales that can be multiplied as they are stored
};
template <class F>
inline constexpr weight_kind weight_kind_of = [] {
  if (packed_rows<F>::known && F::group == 16) return weight_kind::nvfp4_rows;
  return exact_in_bf16<F> ? weight_kind::exact_in_bf16 : weight_kind::any;
}();

/// Any format through `decode_group`: columns [first, first + columns) of a row, without the outer scale.
template <matrix_format F>
void decode_columns(matrix<F> const& m, std::int64_t row, std::int64_t first, std::int64_t columns, float* out) {
  constexpr std::int64_t group = F::group;
  float values[group];
  for (std::int64_t k = first; k < first + columns;) {
    auto const begin = k / group * group;
    auto const end = std::min(begin + group, first + columns);
    if (begin == k && end == begin + group) {
      F::decode_group(m.parts, row, k / group, out + (k - first));
    } else {
      F::decode_group(m.parts, row, k / group, values);
      std::copy(values + (k - begin), values + (end - begin), out + (k - first));
    }
    k = end;
  }
}

/// Shorter ways of a kernel to the same values: decodes `columns`, a multiple of the kernel's group, or returns 0. `ahead`: rows
/// to the one of which the same columns come next.
template <class Kernel, matrix_format F>
std::int64_t decode_directly(matrix<F> const& m, std::int64_t row, std::int64_t first, std::int64_t columns, std::int64_t ahead,
                             typename Kernel::element* out) {
  auto const& p = m.parts;
  if constexpr (packed_rows<F>::known && F::group == 16) {
    std::uint8_t gathered[Kernel::chunk / 16];
    auto const* const scales = packed_rows<F>::scales(p, row, first / 16, columns / 16, gathered);
    Kernel::decode_nvfp4(packed_rows<F>::codes(p, row) + first / 2, scales, columns, ahead * p.row_step * p.cols / 2, out);
    return columns;
  } else if constexpr (std::is_same_v<F, bf16_format>) {
    if (p.column_stride != 1) return 0;
    Kernel::reorder(static_cast<unsigned char const*>(p.data) + 2 * (row * p.stride + first), columns, out);
    return columns;
  } else {
    return 0;
  }
}

/// Values, with room for `padded` of them, in a kernel's order.
template <class Kernel>
void pack_padded(float* values, std::int64_t size, std::int64_t padded, typename Kernel::element* out) {
  std::fill(values + size, values + padded, 0.0f);
  Kernel::pack(values, padded, out);
}

/// Columns [first, first + columns) of a row for a kernel, padded with zeros to a multiple of its group: at most a chunk, `first`
/// a multiple of the chunk.
template <class Kernel, matrix_format F>
void decode_row(matrix<F> const& m, std::int64_t row, std::int64_t first, std::int64_t columns, std::int64_t ahead,
                typename Kernel::element* out) {
  constexpr auto group = Kernel::group;
  auto const known = decode_directly<Kernel>(m, row, first, columns / group * group, ahead, out);
  if (known == columns) return;
  float values[Kernel::chunk];
  decode_columns(m, row, first + known, columns - known, values);
  pack_padded<Kernel>(values, columns - known, (columns - known + group - 1) / group * group, out + known);
}

/// Kernels that multiply rows as they are stored and no others.
template <class Kernel>
concept stored_rows_only = requires {
  Kernel::digits;
};

/// A matrix as a kernel reads it: its format is known to the functions alone, so that products are compiled once per kernel.
template <class Kernel>
struct weight_rows {
  static constexpr std::int64_t together = 1;

  void const* matrix = nullptr;
  void (*decode)(void const* matrix, std::int64_t row, std::int64_t first, std::int64_t columns, std::int64_t ahead,
                 typename Kernel::element* out) = nullptr;
  /// Of NVFP4, else null: see `stored_strip`.
  packed_strip (*packed)(void const* matrix, std::int64_t row, aligned_buffer<std::uint8_t>& buffer) = nullptr;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  double outer_scale = 1;

  std::int64_t strips() const { return (rows + Kernel::rows - 1) / Kernel::rows; }
  /// Whether pieces can be multiplied as they are stored.
  bool direct() const { return packed != nullptr && columns % Kernel::group == 0; }
  /// A piece of row `r` of a strip; rows past the last are zeros.
  void operator()(std::int64_t strip, int r, std::int64_t first, std::int64_t size, typename Kernel::element* out) const {
    auto const row = strip * Kernel::rows + r;
    if (row < rows) return decode(matrix, row, first, size, Kernel::rows, out);
    std::fill(out, out + (size + Kernel::group - 1) / Kernel::group * Kernel::group, typename Kernel::element{0});
  }
  /// The rows of a strip as stored; past the last row it comes again.
  packed_strip stored(std::int64_t strip, aligned_buffer<std::uint8_t>& buffer) const {
    return packed(matrix, strip * Kernel::rows, buffer);
  }
};

/// Bytes from codes of a strip to those that are asked for while it is multiplied: whole strips, as many as take longer than
/// memory's answer.
inline std::int64_t bytes_ahead(std::int64_t strip_bytes) {
  constexpr std::int64_t answer = 16384;  // of codes, which take the fastest kernel half a microsecond
  return (answer + strip_bytes - 1) / std::max<std::int64_t>(strip_bytes, 1) * strip_bytes;
}

/// `Kernel::rows` NVFP4 rows from `row` on where they lie, or in `buffer` where scales do not lie in rows, or rows end.
template <class Kernel, matrix_format F>
packed_strip stored_strip(matrix<F> const& m, std::int64_t row, aligned_buffer<std::uint8_t>& buffer) {
  using stored = packed_rows<F>;
  auto const& p = m.parts;
  auto const blocks = p.cols / 16, step = p.row_step * p.cols / 2;
  auto const ahead = bytes_ahead(Kernel::rows * step);
  bool const whole = row + Kernel::rows <= m.rows;
  packed_strip out{stored::codes(p, row), step, nullptr, step / 8, ahead};
  if (stored::scales_in_rows && whole) {
    out.scales = stored::scales(p, row, 0, blocks, nullptr);
    return out;
  }
  auto* const scales = buffer.reserve(Kernel::rows * 9 * blocks);
  auto* const codes = scales + Kernel::rows * blocks;
  for (int r = 0; r < Kernel::rows; ++r) {
    auto const from = std::min(row + r, m.rows - 1);
    auto const* const found = stored::scales(p, from, 0, blocks, scales + r * blocks);
    if (stored::scales_in_rows) std::copy_n(found, blocks, scales + r * blocks);
    if (!whole) std::copy_n(stored::codes(p, from), 8 * blocks, codes + r * 8 * blocks);
  }
  return whole ? packed_strip{out.codes, step, scales, blocks, ahead} : packed_strip{codes, 8 * blocks, scales, blocks, ahead};
}

/// `m` must outlive the result.
template <class Kernel, matrix_format F>
weight_rows<Kernel> rows_of(matrix<F> const& m) {
  using of_format = cull::matrix<F>;
  weight_rows<Kernel> out{&m, nullptr, nullptr, m.rows, m.cols, static_cast<double>(F::outer_scale(m.parts))};
  if constexpr (!stored_rows_only<Kernel>) {
    out.decode = [](void const* of, std::int64_t row, std::int64_t first, std::int64_t columns, std::int64_t ahead,
                    typename Kernel::element* to) {
      decode_row<Kernel>(*static_cast<of_format const*>(of), row, first, columns, ahead, to);
    };
  }
  if constexpr (packed_rows<F>::known && F::group == 16) {
    out.packed = [](void const* of, std::int64_t row, aligned_buffer<std::uint8_t>& buffer) {
      return stored_strip<Kernel>(*static_cast<of_format const*>(of), row, buffer);
    };
  }
  return out;
}

/// Gate and up of an expert, a strip of the one and a strip of the other in turns.
template <class Kernel>
struct gated_rows {
  static constexpr std::int64_t together = 2;

  weight_rows<Kernel> gate, up;

  std::int64_t strips() const { return 2 * up.strips(); }
  bool direct() const { return gate.direct() && up.direct(); }
  void operator()(std::int64_t strip, int r, std::int64_t first, std::int64_t size, typename Kernel::element* out) const {
    (strip % 2 == 0 ? gate : up)(strip / 2, r, first, size, out);
  }
  packed_strip stored(std::int64_t strip, aligned_buffer<std::uint8_t>& buffer) const {
    return (strip % 2 == 0 ? gate : up).stored(strip / 2, buffer);
  }
};

}  // namespace detail

CULL_NAMESPACE_END
