// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/cuda/context.hpp>
#include <cull/error.hpp>
#include <cull/expert/expert_mlp.hpp>
#include <cull/tensor/nvfp4.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// An NVFP4 matrix as kernels read it: where row 0 starts, how far the next is, and the factor of finished sums.
struct nvfp4_rows {
  std::uint8_t const* codes;
  std::uint8_t const* scales;
  std::int64_t code_stride;  ///< bytes from row to row
  std::int64_t scale_stride;
  double outer_scale;
};

/// One expert's matrices: gate and up [width, hidden], down [hidden, width].
struct expert_weights {
  nvfp4_rows gate;
  nvfp4_rows up;
  nvfp4_rows down;
};

/// Shapes that all experts of a layer share.
struct expert_shape {
  std::int32_t hidden = 0;
  std::int32_t width = 0;
  std::int32_t experts = 0;
  bool gated = true;
  bool wide_scales = true;  ///< all block scales start at multiples of 16 bytes
};

/// Experts that travel as arguments of one launch: below the 4 KiB that every device takes.
struct expert_batch {
  static constexpr int capacity = 32;
  expert_weights of[capacity];
};

/// Writes `count` experts of `batch` to `table` from `first` on: one thread an expert. No host memory outlives the call.
struct write_experts {
  using Shared = no_shared;
  static constexpr unsigned threads = expert_batch::capacity;

  CULL_EXEC_CHECK_OFF
  template <thread_context C>
  CULL_HD void operator()(C const& c, Shared&, expert_weights* table, expert_batch batch, int first, int count) const {
    auto const i = static_cast<int>(c.thread());
    if (i < count) table[first + i] = batch.of[i];
  }
};

}  // namespace simt

namespace detail {

template <class Dialect>
simt::nvfp4_rows rows_on_device(matrix<nvfp4<Dialect, linear>, device_memory> const& m) {
  auto const& p = m.parts;
  return {p.codes, p.scales, p.row_step * (p.cols / 2), p.row_step * (p.cols / 16),
          static_cast<double>(Dialect::outer_scale(p.tensor_scale))};
}

/// The shape of all `experts`. Throws `errc::shape_mismatch` where they differ or a row is not `multiple` long, and
/// `errc::unsupported_format` for biases and for bytes that are not aligned to 16 (codes) and 4 (scales).
template <class Dialect>
simt::expert_shape shape_on_device(std::span<gated_expert<matrix<nvfp4<Dialect, linear>, device_memory>> const> experts,
                                   std::int64_t hidden, std::int64_t multiple) {
  if (experts.empty()) return {static_cast<std::int32_t>(hidden), 0, 0, true};
  auto const width = experts.front().up.rows;
  bool const gated = experts.front().gate.rows > 0;
  auto const fits = [](auto const& m, std::int64_t rows, std::int64_t cols) { return m.rows == rows && m.cols == cols; };
  auto const aligned = [](auto const& m) {
    return reinterpret_cast<std::uintptr_t>(m.parts.codes) % 16 == 0 && reinterpret_cast<std::uintptr_t>(m.parts.scales) % 4 == 0;
  };
  std::size_t number = 0;
  for (auto const& e : experts) {
    auto const name = "expert " + std::to_string(number++);
    bool const shaped =
        fits(e.up, width, hidden) && fits(e.down, hidden, width) && (gated ? fits(e.gate, width, hidden) : e.gate.rows == 0);
    if (!shaped || width % multiple != 0 || hidden % multiple != 0) {
      throw error{errc::shape_mismatch, name + ": needed are gate and up [" + std::to_string(width) + ", " +
                                            std::to_string(hidden) + "], down [hidden, width], both multiples of " +
                                            std::to_string(multiple)};
    }
    if (!e.gate_bias.empty() || !e.up_bias.empty() || !e.down_bias.empty()) {
      throw error{errc::unsupported_format, name + " has biases, which the CUDA backend does not add"};
    }
    if (!aligned(e.up) || !aligned(e.down) || !aligned(e.gate)) {
      throw error{errc::unsupported_format, name + ": codes must be aligned to 16 bytes and block scales to 4 in device memory"};
    }
  }
  bool const wide = std::all_of(experts.begin(), experts.end(), [](auto const& e) {
    auto const at = [](auto const& m) { return reinterpret_cast<std::uintptr_t>(m.parts.scales); };
    return (at(e.gate) | at(e.up) | at(e.down)) % 16 == 0;
  });
  return {static_cast<std::int32_t>(hidden), static_cast<std::int32_t>(width), static_cast<std::int32_t>(experts.size()), gated,
          wide};
}

/// Fills `table` [experts] in device memory.
template <simt::device_executor Exec, class Dialect>
void copy_table(Exec const& exec, std::span<gated_expert<matrix<nvfp4<Dialect, linear>, device_memory>> const> experts,
                simt::expert_weights* table) {
  constexpr std::size_t capacity = simt::expert_batch::capacity;
  for (std::size_t first = 0; first < experts.size(); first += capacity) {
    auto const part = experts.subspan(first, std::min(capacity, experts.size() - first));
    simt::expert_batch batch{};
    for (std::size_t i = 0; i < part.size(); ++i) {
      batch.of[i] = {rows_on_device(part[i].gate), rows_on_device(part[i].up), rows_on_device(part[i].down)};
    }
    exec.launch(simt::grid_size{1, 1}, simt::write_experts{}, table, batch, static_cast<int>(first),
                static_cast<int>(part.size()));
  }
}

}  // namespace detail

CULL_NAMESPACE_END
