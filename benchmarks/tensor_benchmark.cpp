// SPDX-License-Identifier: Apache-2.0
// Dequantisation against writing past the caches (or, in L2, against memcpy), quantisation against reading.
#include <cull/tensor.hpp>

#include <string>
#include <type_traits>

#include <cull/cpu.hpp>

#include "ceilings.hpp"
#include "paired.hpp"
#include "weights.hpp"

namespace {

constexpr std::int64_t rows = 8192, cols = 8192;  // 64 Mi elements

template <class T>
std::span<std::byte> bytes_of(cull::detail::aligned_buffer<T> const& buffer, std::int64_t size) {
  return {reinterpret_cast<std::byte*>(buffer.data()), static_cast<std::size_t>(size) * sizeof(T)};
}

template <class T>
void dequantize(benchmark::State& state) {
  static benchmarks::nvfp4_matrices const weights{1, rows, cols};
  cull::detail::aligned_buffer<T> out{rows * cols};
  int const threads = static_cast<int>(state.range(0));
  auto const bytes = bytes_of(out, rows * cols);
  auto const size = static_cast<double>(bytes.size());
  benchmarks::compare(
      state, size,
      [&] {
        cull::dequantize(cull::on_cpu{threads}, weights[0], cull::matrix_view<T>{out.data(), rows, cols});
      },
      size, [&] { benchmarks::stream_write(bytes, threads); });
}

/// 128 KiB of output, many times.
template <class T>
void dequantize_in_l2(benchmark::State& state) {
  constexpr std::int64_t few = 32, wide = 4096 / static_cast<std::int64_t>(sizeof(T));
  constexpr int times = 200;
  static benchmarks::nvfp4_matrices const weights{1, few, wide};
  cull::detail::aligned_buffer<T> out{few * wide}, from{few * wide};
  auto const bytes = bytes_of(out, few * wide), source = bytes_of(from, few * wide);
  std::memset(source.data(), 1, source.size());
  auto const size = static_cast<double>(bytes.size()) * times;
  benchmarks::compare(
      state, size,
      [&] {
        for (int i = 0; i < times; ++i) cull::dequantize(cull::on_cpu{}, weights[0], cull::matrix_view<T>{out.data(), few, wide});
      },
      size,
      [&] {
        for (int i = 0; i < times; ++i) benchmarks::copy(source, bytes, 1);
      });
}

template <class T>
cull::detail::aligned_buffer<T> source_values() {
  auto const values = benchmarks::activations(rows, cols);
  cull::detail::aligned_buffer<T> out{rows * cols};
  for (std::size_t i = 0; i < values.size(); ++i) {
    if constexpr (std::is_same_v<T, float>) {
      out.data()[i] = values[i];
    } else {
      out.data()[i] = T::encode(values[i]);
    }
  }
  return out;
}

template <class T>
void quantize(benchmark::State& state) {
  static auto const values = source_values<T>();
  int const threads = static_cast<int>(state.range(0));
  auto const bytes = bytes_of(values, rows * cols);
  auto const size = static_cast<double>(bytes.size());
  cull::nvfp4_buffer out;
  benchmarks::compare(
      state, size,
      [&] {
        cull::quantize(cull::on_cpu{threads}, cull::modelopt{}, cull::matrix_view<T const>{values.data(), rows, cols}, out,
                       0.002f);
      },
      size, [&] { benchmarks::stream_read(bytes, threads); });
}

/// The block scales of an expert's matrix, [2048, 6144 / 16], which fit L2.
template <class From, class To>
void relayout(benchmark::State& state) {
  constexpr std::int64_t high = 2048, blocks = 384;
  constexpr int times = 20;
  std::vector<std::uint8_t> const source(static_cast<std::size_t>(From::size(high, blocks)), 1);
  std::vector<std::uint8_t> target(source.size(), 1), copy(source.size(), 1);
  auto const size = static_cast<double>(source.size()) * times;
  benchmarks::compare(
      state, size,
      [&] {
        for (int i = 0; i < times; ++i) cull::relayout<From, To>(source, target, high, blocks);
      },
      size,
      [&] {
        for (int i = 0; i < times; ++i) {
          benchmarks::copy(std::as_bytes(std::span{source}), std::as_writable_bytes(std::span{copy}), 1);
        }
      });
}

void add(std::string const& name, void (*run)(benchmark::State&)) {
  benchmark::RegisterBenchmark(name.c_str(), run)
      ->ArgName("threads")
      ->Arg(1)
      ->Arg(2)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

[[maybe_unused]] bool const registered = [] {
  add("dequantize/f32", dequantize<float>);
  add("dequantize/bf16", dequantize<cull::bf16>);
  benchmark::RegisterBenchmark("dequantize/f32/in_l2", dequantize_in_l2<float>)->UseManualTime()->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("dequantize/bf16/in_l2", dequantize_in_l2<cull::bf16>)
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
  auto* const to_tiles = relayout<cull::linear, cull::tiled_128x4>;
  auto* const from_tiles = relayout<cull::tiled_128x4, cull::linear>;
  benchmark::RegisterBenchmark("relayout/to_tiled_128x4", to_tiles)->UseManualTime()->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("relayout/from_tiled_128x4", from_tiles)->UseManualTime()->Unit(benchmark::kMillisecond);
  add("quantize/f32", quantize<float>);
  add("quantize/bf16", quantize<cull::bf16>);
  return true;
}();

}  // namespace
