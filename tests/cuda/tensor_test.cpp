// SPDX-License-Identifier: Apache-2.0
// Dequantise and relayout on the executor of the tests: the CPU's bits, in any order of threads, with whole sectors.
#include <cmath>
#include <cstdint>
#include <random>
#include <type_traits>
#include <vector>

#include <doctest/doctest.h>
#include <cull/cuda/dequantize.hpp>
#include <cull/cuda/quantize.hpp>
#include <cull/cuda/relayout.hpp>
#include <cull/tensor.hpp>

#include "simt/on_simt.hpp"
#include "whole_sectors.hpp"

using namespace simt_test;
using cuda_tests::check_whole;

namespace {

std::vector<std::uint8_t> random_bytes(std::size_t size, std::uint64_t seed, unsigned below = 256) {
  std::mt19937_64 random{seed};
  std::vector<std::uint8_t> out(size);
  for (auto& b : out) b = static_cast<std::uint8_t>(random() % below);
  return out;
}

template <class T>
std::vector<T> random_values(std::size_t size, std::uint64_t seed) {
  std::mt19937_64 random{seed};
  std::normal_distribution<float> normal{0.0f, 0.02f};
  std::vector<T> out(size);
  for (auto& v : out) {
    if constexpr (std::is_same_v<T, float>) {
      v = normal(random);
    } else {
      v = T::encode(normal(random));
    }
  }
  return out;
}

template <class T>
bool same_bits(T a, T b) {
  if constexpr (std::is_same_v<T, float>) {
    return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) || (std::isnan(a) && std::isnan(b));
  } else {
    return a.bits == b.bits || (std::isnan(a.decode()) && std::isnan(b.decode()));
  }
}

struct shape {
  std::int64_t rows, cols, row_step = 1;
};

/// Bytes of codes (with all that lies among them) and of scales beside them, and the matrix at those places.
template <class F>
struct stored {
  static std::size_t code_bytes(shape s) { return static_cast<std::size_t>(s.rows * s.row_step * s.cols / 2); }
  static std::size_t scale_bytes(shape s) {
    if constexpr (requires { typename F::scale_layout; }) {
      return static_cast<std::size_t>(F::scale_layout::size(s.rows * s.row_step, s.cols / 16));
    } else {
      return static_cast<std::size_t>(s.rows * s.row_step * s.cols / F::group);
    }
  }
  static typename F::parts at(shape s, std::uint8_t const* codes, std::uint8_t const* scales) {
    if constexpr (requires { typename F::dialect; }) {
      return {codes, scales, 0.0031f, s.cols, s.row_step};
    } else {
      return {codes, scales, s.cols, s.row_step};
    }
  }
};
template <>
struct stored<cull::fp8_tensor> {
  static std::size_t code_bytes(shape s) { return static_cast<std::size_t>(s.rows * s.row_step * s.cols); }
  static std::size_t scale_bytes(shape) { return 0; }
  static cull::fp8_tensor::parts at(shape s, std::uint8_t const* codes, std::uint8_t const*) {
    return {codes, s.cols * s.row_step, 0.37f};
  }
};
template <>
struct stored<cull::gguf_nvfp4> {
  static std::size_t code_bytes(shape s) { return static_cast<std::size_t>(s.rows * s.row_step * s.cols / 64 * 36); }
  static std::size_t scale_bytes(shape) { return 0; }
  static cull::gguf_nvfp4::parts at(shape s, std::uint8_t const* codes, std::uint8_t const*) {
    return {codes, s.cols, 0.37f, s.row_step};
  }
};

template <class F, class T>
void check_dequantize(shape s, std::uint64_t seed, std::int64_t extra_stride = 0) {
  using place = stored<F>;
  auto const codes = random_bytes(place::code_bytes(s), seed);
  auto const scales = random_bytes(place::scale_bytes(s), seed + 1);
  device_array<std::uint8_t> const device_codes{codes}, device_scales{scales};
  auto const stride = s.cols + extra_stride;
  std::vector<T> expected(static_cast<std::size_t>(s.rows * stride));
  cull::dequantize(cull::on_cpu{}, cull::matrix<F>{place::at(s, codes.data(), scales.data()), s.rows, s.cols},
                   cull::matrix_view<T>{expected.data(), s.rows, s.cols, stride});
  device_array<T> const out{expected.size()};
  race_detector races;
  on_simt const exec{{.seed = seed, .watch = {.races = &races}}};
  cull::dequantize(exec,
                   cull::matrix<F, cull::device_memory>{place::at(s, device_codes.data(), device_scales.data()), s.rows, s.cols},
                   cull::matrix_view<T, cull::device_memory>{out.data(), s.rows, s.cols, stride});
  auto const got = out.host();
  std::int64_t different = 0;
  for (std::int64_t r = 0; r < s.rows; ++r) {
    for (std::int64_t k = 0; k < s.cols; ++k) {
      auto const i = static_cast<std::size_t>(r * stride + k);
      different += same_bits(got[i], expected[i]) ? 0 : 1;
    }
  }
  INFO(executed_bodies::readable(typeid(F).name()), " to ", executed_bodies::readable(typeid(T).name()), ", ", s.rows, " x ",
       s.cols);
  CHECK(different == 0);
}

template <class From, class To>
void check_relayout(std::int64_t rows, std::int64_t blocks, std::uint64_t seed) {
  auto source = random_bytes(static_cast<std::size_t>(From::size(rows, blocks)), seed);
  std::vector<std::uint8_t> expected(static_cast<std::size_t>(To::size(rows, blocks)));
  cull::relayout<From, To>(source, expected, rows, blocks);
  device_array<std::uint8_t> const from{source}, to{expected.size()};
  race_detector races;
  on_simt const exec{{.seed = seed, .watch = {.races = &races}}};
  cull::relayout<From, To>(exec, from.view(), to.view(), rows, blocks);
  CHECK(to.host() == expected);
}

/// 1,024 columns: whole sectors of every part.
template <class F, class T>
void check_dequantize_moves_whole_sectors(std::int64_t rows) {
  shape const s{rows, 1024};
  device_array<std::uint8_t> const codes{random_bytes(stored<F>::code_bytes(s), 1)},
      scales{random_bytes(stored<F>::scale_bytes(s), 2)};
  device_array<T> const out{static_cast<std::size_t>(rows * 1024)};
  memory_trace trace;
  cull::dequantize(on_simt{{.watch = {.trace = &trace}}},
                   cull::matrix<F, cull::device_memory>{stored<F>::at(s, codes.data(), scales.data()), rows, 1024},
                   out.view(rows, 1024));
  INFO(executed_bodies::readable(typeid(F).name()), " to ", executed_bodies::readable(typeid(T).name()));
  check_whole(trace);
  CHECK(trace.total(space::global, access_kind::write).bytes_used == static_cast<std::uint64_t>(rows) * 1024 * sizeof(T));
}

/// Both passes: the greatest magnitude, then codes and scales.
template <class Dialect, class T>
void check_quantize_moves_whole_sectors() {
  device_array<T> const source{random_values<T>(8 * 1024, 3)};
  device_array<float> const tensor_scale{1};
  device_array<std::uint8_t> const codes{8 * 512}, scales{8 * 64};
  memory_trace trace;
  cull::quantize(on_simt{{.watch = {.trace = &trace}}}, Dialect{}, source.view(8, 1024),
                 {codes.data(), scales.data(), tensor_scale.data()});
  CHECK(check_whole(trace) >= 3);
}

}  // namespace

TEST_CASE("dequantize on the device: the bits of the CPU, every format and type") {
  for (std::uint64_t const seed : {1u, 2u, 3u}) {
    for (auto const s : {shape{5, 16}, shape{3, 496}, shape{2, 512}, shape{9, 1040}, shape{3, 528, 2}}) {
      check_dequantize<cull::nvfp4_modelopt, float>(s, seed);
      check_dequantize<cull::nvfp4_modelopt, cull::bf16>(s, seed);
      check_dequantize<cull::nvfp4_modelopt, cull::f16>(s, seed);
      check_dequantize<cull::nvfp4_compressed, cull::bf16>(s, seed);
    }
    using tiled = cull::nvfp4<cull::modelopt, cull::tiled_128x4>;
    check_dequantize<tiled, float>({130, 80}, seed);
    check_dequantize<tiled, cull::bf16>({257, 48}, seed);
    check_dequantize<tiled, cull::f16>({31, 128}, seed);
    for (auto const s : {shape{7, 96}, shape{2, 1024}, shape{3, 1056, 2}}) {
      check_dequantize<cull::mxfp4, float>(s, seed);
      check_dequantize<cull::mxfp4, cull::bf16>(s, seed);
      check_dequantize<cull::mxfp4, cull::f16>(s, seed);
    }
    // By groups: rows that are not aligned, every second row of tiled scales, other formats.
    check_dequantize<cull::nvfp4_modelopt, cull::bf16>({4, 48}, seed, 3);
    check_dequantize<cull::mxfp4, float>({3, 1088}, seed, 1);
    check_dequantize<tiled, cull::bf16>({70, 80, 2}, seed);
    check_dequantize<cull::fp8_tensor, float>({5, 264}, seed);
    check_dequantize<cull::fp8_tensor, cull::f16>({5, 40}, seed);
    check_dequantize<cull::gguf_nvfp4, cull::bf16>({3, 2112}, seed);
    check_dequantize<cull::gguf_nvfp4, float>({3, 64, 2}, seed);
  }
}

TEST_CASE("relayout on the device, both ways") {
  for (std::uint64_t const seed : {1u, 2u, 3u}) {
    for (auto const& [rows, blocks] :
         {std::pair{1, 1}, std::pair{128, 32}, std::pair{129, 36}, std::pair{40, 7}, std::pair{257, 130}}) {
      check_relayout<cull::linear, cull::tiled_128x4>(rows, blocks, seed);
      check_relayout<cull::tiled_128x4, cull::linear>(rows, blocks, seed);
    }
  }
}

TEST_CASE("full tiles use every byte that they move, and no bank of shared memory twice") {
  using tiled = cull::nvfp4<cull::modelopt, cull::tiled_128x4>;
  check_dequantize_moves_whole_sectors<cull::nvfp4_modelopt, float>(8);
  check_dequantize_moves_whole_sectors<cull::nvfp4_modelopt, cull::bf16>(8);
  check_dequantize_moves_whole_sectors<cull::nvfp4_modelopt, cull::f16>(8);
  check_dequantize_moves_whole_sectors<cull::nvfp4_compressed, float>(8);
  check_dequantize_moves_whole_sectors<cull::nvfp4_compressed, cull::bf16>(8);
  check_dequantize_moves_whole_sectors<cull::nvfp4_compressed, cull::f16>(8);
  check_dequantize_moves_whole_sectors<tiled, float>(128);
  check_dequantize_moves_whole_sectors<tiled, cull::bf16>(128);
  check_dequantize_moves_whole_sectors<tiled, cull::f16>(128);
  check_dequantize_moves_whole_sectors<cull::mxfp4, float>(8);
  check_dequantize_moves_whole_sectors<cull::mxfp4, cull::bf16>(8);
  check_dequantize_moves_whole_sectors<cull::mxfp4, cull::f16>(8);
  check_dequantize_moves_whole_sectors<cull::fp8_tensor, float>(4);
  check_dequantize_moves_whole_sectors<cull::fp8_tensor, cull::bf16>(4);
  check_dequantize_moves_whole_sectors<cull::gguf_nvfp4, float>(4);
  check_dequantize_moves_whole_sectors<cull::gguf_nvfp4, cull::bf16>(4);
  check_quantize_moves_whole_sectors<cull::modelopt, float>();
  check_quantize_moves_whole_sectors<cull::modelopt, cull::bf16>();
  check_quantize_moves_whole_sectors<cull::compressed_tensors, float>();
  check_quantize_moves_whole_sectors<cull::compressed_tensors, cull::bf16>();
  {
    memory_trace trace;
    on_simt const exec{{.watch = {.trace = &trace}}};
    device_array<std::uint8_t> const rows{random_bytes(256 * 64, 4)}, tiles{256 * 64};
    cull::relayout<cull::linear, cull::tiled_128x4>(exec, rows.view(), tiles.view(), 256, 64);
    cull::relayout<cull::tiled_128x4, cull::linear>(exec, tiles.view(), rows.view(), 256, 64);
    check_whole(trace);
  }
}
