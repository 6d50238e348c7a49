// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>

#include <cull/config.hpp>
#include <cull/cuda/matmul_tile.hpp>
#include <cull/cuda/scratch_array.hpp>
#include <cull/cuda/tile_policy.hpp>
#include <cull/error.hpp>
#include <cull/expert/matmul.hpp>

CULL_NAMESPACE_BEGIN

/// NVFP4 in either dialect and MXFP4, codes aligned as `run_experts` needs them, rows of x to 16 bytes, y anyhow. Products as
/// `tile_product` states them, the same bits from `latency<...>`.
template <simt::device_executor Exec>
struct impl<matmul_op, Exec> {
  template <class Policy, matrix_format F>
  static void run(Exec const& exec, matrix_view<float const, device_memory> x, matrix<F, device_memory> const& w,
                  matrix_view<float, device_memory> y) {
    if constexpr (detail::takes_weights<matmul_op, F>()) run_tiles<Policy>(exec, x, w, y);
  }

 private:
  template <class Policy, detail::tiled_format F>
  static void run_tiles(Exec const& exec, matrix_view<float const, device_memory> x, matrix<F, device_memory> const& w,
                        matrix_view<float, device_memory> y) {
    constexpr int parts = detail::bf16_parts<typename detail::policy_of<Policy>::precision>;
    constexpr int tokens = detail::policy_of<Policy>::tokens;
    static_assert(parts != 0, "the tensor core kernels take f32_precision and bf16_precision");
    detail::check_rows("matmul", "x", x.data(), x.stride());
    auto const codes = reinterpret_cast<std::uintptr_t>(w.parts.codes), scales = reinterpret_cast<std::uintptr_t>(w.parts.scales);
    if (codes % (F::group / 2) != 0) {
      throw error{errc::unsupported_format,
                  "matmul: codes must be aligned to " + std::to_string(F::group / 2) + " bytes in device memory"};
    }
    if (x.rows() == 0 || w.rows == 0) return;
    auto const k = static_cast<std::int32_t>(w.cols);
    auto const part_stride = x.rows() * simt::plane_width(k);
    simt::scratch_array<std::uint16_t, Exec> planes{exec, static_cast<std::size_t>(parts * part_stride)};
    if (part_stride > 0) {
      exec.launch(
          simt::grid_size{detail::block_count(part_stride / 4, simt::split_rows<parts>::threads), 1},
          simt::split_rows<parts>{x.data(), x.stride(), nullptr, 1, 0, 1, k, part_stride / 4, planes.data(), part_stride});
    }
    simt::expert_shape const shape{.whole = w.rows % 64 == 0 && k % 64 == 0 && codes % 16 == 0 && scales % 4 == 0};
    detail::with_weights<F>(shape, [&]<class Weights>(Weights) {
      using body = simt::matmul_tile<parts, tokens, Weights>;
      auto const blocks = ((x.rows() + tokens - 1) / tokens) * ((w.rows + body::columns - 1) / body::columns);
      exec.launch(simt::grid_size{detail::block_count(blocks, 1), 1},
                  body{detail::rows_on_device<F>(w), planes.data(), part_stride, static_cast<std::int32_t>(x.rows()), k,
                       static_cast<std::int32_t>(w.rows), scales % 16 == 0, y.data(), y.stride()});
    });
  }
};

CULL_NAMESPACE_END
