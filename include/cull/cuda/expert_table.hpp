// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>

#include <cull/config.hpp>
#include <cull/cuda/context.hpp>
#include <cull/cuda/tile_weights.hpp>
#include <cull/error.hpp>
#include <cull/expert/expert_mlp.hpp>
#include <cull/tensor/mxfp4.hpp>
#include <cull/tensor/nvfp4.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// A matrix of 4-bit codes as kernels read it: where row 0 starts, how far the next is, and the factor of finished sums.
struct weight_rows {
  std::uint8_t const* codes;
  std::uint8_t const* scales;
  std::int64_t code_stride;  ///< bytes from row to row
  std::int64_t scale_stride;
  double outer_scale;
};

/// One that lies in device memory.
CULL_EXEC_CHECK_OFF
template <class C>
CULL_HD weight_rows load_rows(C const& c, weight_rows const* m) {
  return {c.load(&m->codes), c.load(&m->scales), c.load(&m->code_stride), c.load(&m->scale_stride), c.load(&m->outer_scale)};
}

/// One expert's matrices, gate and up [width, hidden], down [hidden, width], and their biases or null.
struct expert_weights {
  weight_rows gate;
  weight_rows up;
  weight_rows down;
  float const* gate_bias;
  float const* up_bias;
  float const* down_bias;
};

/// Shapes that all experts of a layer share.
struct expert_shape {
  std::int32_t hidden = 0;
  std::int32_t width = 0;
  std::int32_t experts = 0;
  bool gated = true;
  bool whole = true;        ///< for kernels of whole stages: `nvfp4_whole`
  bool wide_scales = true;  ///< all block scales start at multiples of 16 bytes
};

/// Which rows of a matrix `m` the rows of a tile are: `first` is that of one of the first `Weights::apart`, and every `apart`
/// further on in the tile there are `further` more.
struct tile_place {
  weight_rows m;
  int first;
  int further;
  int end;   ///< the tile's last row + 1
  int rows;  ///< of the matrix

  /// Of the tile's row `number * apart` further on, or one that exists. Where matrices consist of whole stages half a tile exists
  /// or all of it.
  template <class Weights>
  CULL_HD int row(int number) const {
    int const there = first + number * further;
    if constexpr (Weights::whole) {
      return end <= rows ? there : first;
    } else {
      return there < rows ? there : rows - 1;
    }
  }
};

/// Where a thread's copies come from: `place(i)` tells of the tile's row i < `Weights::apart`.
template <class Weights, class Place>
CULL_HD typename Weights::source code_source_of(int thread, Place const& place) {
  tile_place const at = place(thread / Weights::sharers);
  typename Weights::source out{};
  int const first = at.template row<Weights>(0);
  out.codes = at.m.codes + first * at.m.code_stride + thread % Weights::sharers * (tile_layout::bytes / Weights::sharers);
  CULL_UNROLL_FULLY
  for (int i = 1; i < Weights::sharers; ++i) {
    out.next[i - 1] = static_cast<std::int32_t>((at.template row<Weights>(i) - first) * at.m.code_stride);
  }
  return out;
}

/// Where the scales of a tile's row begin.
template <class Weights, class Place>
CULL_HD std::uint8_t const* scale_row_of(int row, Place const& place) {
  tile_place const at = place(row % Weights::apart);
  return at.m.scales + at.template row<Weights>(row / Weights::apart) * at.m.scale_stride;
}

/// Four adjacent biases from a multiple of four on: at once where they start at a multiple of 16 bytes, so that lanes side by
/// side ask for whole sectors.
CULL_EXEC_CHECK_OFF
template <class C>
CULL_HD pack<float, 4> four_biases(C const& c, float const* from) {
  if (reinterpret_cast<std::uintptr_t>(from) % 16 == 0) return c.load(reinterpret_cast<pack<float, 4> const*>(from));
  pack<float, 4> out;
  CULL_UNROLL_FULLY
  for (int i = 0; i < 4; ++i) out[i] = c.load(from + i);
  return out;
}

/// Experts that travel as arguments of one launch: below the 4 KiB that every device takes.
struct expert_batch {
  static constexpr int capacity = 24;
  static constexpr int words_each = sizeof(expert_weights) / sizeof(std::uint64_t);
  std::uint64_t words[capacity * words_each];
};
static_assert(sizeof(expert_batch) <= 4000 && sizeof(expert_weights) % sizeof(std::uint64_t) == 0);

/// Writes `count` experts of `batch` to `table`, words side by side. No host memory outlives the call.
struct write_experts {
  using Shared = no_shared;
  static constexpr unsigned threads = 32;

  CULL_EXEC_CHECK_OFF
  template <thread_context C>
  CULL_HD void operator()(C const& c, Shared&, expert_weights* table, expert_batch batch, int count) const {
    auto* const to = reinterpret_cast<std::uint64_t*>(table);
    for (auto i = static_cast<int>(c.thread()); i < count * expert_batch::words_each; i += static_cast<int>(threads)) {
      c.store(to + i, batch.words[i]);
    }
  }
};

}  // namespace simt

namespace detail {

/// Formats that the tile kernels read: how whole stages and how any rows of theirs are copied and decoded.
template <class F>
struct tile_format {};
template <class Dialect>
struct tile_format<nvfp4<Dialect, linear>> {
  using whole = simt::nvfp4_whole;
  using ragged = simt::nvfp4_ragged;
  static double outer_scale(typename nvfp4<Dialect, linear>::parts const& p) {
    return static_cast<double>(Dialect::outer_scale(p.tensor_scale)) * simt::nvfp4_tile_unit;
  }
};

template <>
struct tile_format<mxfp4> {
  using whole = simt::mxfp4_rows;
  using ragged = simt::mxfp4_rows;
  static double outer_scale(mxfp4::parts const&) { return 1.0; }
};

template <class F>
concept tiled_format = matrix_format<F> && requires {
  typename tile_format<F>::whole;
};

/// Says so in a sentence where a product on a device gets weights of another format.
template <class Operation, class F>
consteval bool takes_weights() {
  static_assert(tiled_format<F>,
                "on a device products take weights in NVFP4, scales in rows, or in MXFP4; for others use your "
                "engine's product");
  return tiled_format<F>;
}

template <tiled_format F>
using device_expert = gated_expert<matrix<F, device_memory>>;

/// Calls `f` with the kernels' way to read matrices of that shape.
template <tiled_format F, class Function>
void with_weights(simt::expert_shape const& shape, Function const& f) {
  if (shape.whole) return f(typename tile_format<F>::whole{});
  f(typename tile_format<F>::ragged{});
}

template <tiled_format F>
simt::weight_rows rows_on_device(matrix<F, device_memory> const& m) {
  auto const& p = m.parts;
  return {p.codes, p.scales, p.row_step * (p.cols / 2), p.row_step * (p.cols / F::group), tile_format<F>::outer_scale(p)};
}

/// Whether codes and scales of all matrices start at multiples of these.
template <tiled_format F>
bool starts_at(device_expert<F> const& e, std::uintptr_t codes, std::uintptr_t scales) {
  auto const at = [](void const* a, void const* b, void const* c) {
    return reinterpret_cast<std::uintptr_t>(a) | reinterpret_cast<std::uintptr_t>(b) | reinterpret_cast<std::uintptr_t>(c);
  };
  auto const &g = e.gate.parts, &u = e.up.parts, &d = e.down.parts;
  return at(g.codes, u.codes, d.codes) % codes == 0 && at(g.scales, u.scales, d.scales) % scales == 0;
}

/// Throws `errc::shape_mismatch` where an expert's matrices and biases are not of that shape, and `errc::unsupported_format` for
/// codes that are not aligned to the bytes of a block.
template <tiled_format F>
void check_on_device(device_expert<F> const& e, std::string const& name, simt::expert_shape const& s) {
  auto const fits = [](auto const& m, std::int64_t rows, std::int64_t cols) { return m.rows == rows && m.cols == cols; };
  bool const shaped = fits(e.up, s.width, s.hidden) && fits(e.down, s.hidden, s.width) &&
                      (s.gated ? fits(e.gate, s.width, s.hidden) : e.gate.rows == 0);
  if (!shaped || s.width % F::group != 0 || s.hidden % F::group != 0) {
    throw error{errc::shape_mismatch, name + ": needed are gate and up [" + std::to_string(s.width) + ", " +
                                          std::to_string(s.hidden) + "], down [hidden, width], both multiples of " +
                                          std::to_string(F::group)};
  }
  auto const fitting_bias = [](auto const& bias, std::int64_t size) { return bias.empty() || bias.size() == size; };
  if (!fitting_bias(e.gate_bias, e.gate.rows) || !fitting_bias(e.up_bias, s.width) || !fitting_bias(e.down_bias, s.hidden)) {
    throw error{errc::shape_mismatch,
                name + ": a bias has another size than the product that it is added to: " + std::to_string(e.gate_bias.size()) +
                    ", " + std::to_string(e.up_bias.size()) + ", " + std::to_string(e.down_bias.size()) +
                    " for gate, up and down; needed are width, width, hidden"};
  }
  if (!starts_at<F>(e, F::group / 2, 1)) {
    throw error{errc::unsupported_format,
                name + ": codes must be aligned to " + std::to_string(F::group / 2) + " bytes in device memory"};
  }
}

/// The shape of all `experts`. Throws as `check_on_device`.
template <tiled_format F>
simt::expert_shape shape_on_device(std::span<device_expert<F> const> experts, std::int64_t hidden) {
  simt::expert_shape shape{.hidden = static_cast<std::int32_t>(hidden)};
  if (experts.empty()) return shape;
  shape.width = static_cast<std::int32_t>(experts.front().up.rows);
  shape.experts = static_cast<std::int32_t>(experts.size());
  shape.gated = experts.front().gate.rows > 0;
  shape.whole = shape.width % 64 == 0 && hidden % 64 == 0;
  std::size_t number = 0;
  for (auto const& e : experts) {
    check_on_device<F>(e, "expert " + std::to_string(number++), shape);
    shape.whole = shape.whole && starts_at<F>(e, 16, 4);
    shape.wide_scales = shape.wide_scales && starts_at<F>(e, 1, 16);
  }
  return shape;
}

/// Fills `table` [experts] in device memory.
template <tiled_format F, simt::device_executor Exec>
void copy_table(Exec const& exec, std::span<device_expert<F> const> experts, simt::expert_weights* table) {
  constexpr std::size_t capacity = simt::expert_batch::capacity;
  for (std::size_t first = 0; first < experts.size(); first += capacity) {
    auto const part = experts.subspan(first, std::min(capacity, experts.size() - first));
    simt::expert_batch batch{};
    for (std::size_t i = 0; i < part.size(); ++i) {
      auto const& e = part[i];
      simt::expert_weights const weights{rows_on_device(e.gate), rows_on_device(e.up), rows_on_device(e.down),
                                         e.gate_bias.data(),     e.up_bias.data(),     e.down_bias.data()};
      std::memcpy(batch.words + i * simt::expert_batch::words_each, &weights, sizeof weights);
    }
    exec.launch(simt::grid_size{1, 1}, simt::write_experts{}, table + first, batch, static_cast<int>(part.size()));
  }
}

}  // namespace detail

CULL_NAMESPACE_END
