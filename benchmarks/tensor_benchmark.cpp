// SPDX-License-Identifier: Apache-2.0
// Dequantisation against the rate of writing past the caches, quantisation against the rate of reading.
#include <cull/tensor.hpp>

#include <cull/cpu.hpp>

#include "ceilings.hpp"
#include "paired.hpp"
#include "weights.hpp"

namespace {

constexpr std::int64_t rows = 8192, cols = 8192;  // 64 Mi elements

template <class T>
void dequantize(benchmark::State& state) {
  static benchmarks::nvfp4_matrices const weights{1, rows, cols};
  cull::detail::aligned_buffer<T> out{rows * cols};
  int const threads = static_cast<int>(state.range(0));
  std::span<std::byte> const bytes{reinterpret_cast<std::byte*>(out.data()), static_cast<std::size_t>(rows * cols) * sizeof(T)};
  auto const size = static_cast<double>(bytes.size());
  benchmarks::compare(
      state, size, [&] { cull::dequantize(cull::on_cpu{threads}, weights[0], cull::matrix_view<T>{out.data(), rows, cols}); }, size,
      [&] { benchmarks::stream_write(bytes, threads); });
}

void quantize(benchmark::State& state) {
  static auto const values = benchmarks::activations(rows, cols);
  int const threads = static_cast<int>(state.range(0));
  auto const bytes = std::as_bytes(std::span{values});
  auto const size = static_cast<double>(bytes.size());
  cull::nvfp4_buffer out;
  benchmarks::compare(
      state, size,
      [&] {
        cull::quantize(cull::on_cpu{threads}, cull::modelopt{}, cull::matrix_view<float const>{values.data(), rows, cols}, out, 0.01f);
      },
      size, [&] { benchmarks::stream_read(bytes, threads); });
}

BENCHMARK(dequantize<float>)->Name("dequantize/f32")->ArgName("threads")->Arg(1)->Arg(2)->UseManualTime()->Unit(benchmark::kMillisecond);
BENCHMARK(dequantize<cull::bf16>)
    ->Name("dequantize/bf16")
    ->ArgName("threads")
    ->Arg(1)
    ->Arg(2)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(quantize)->Name("quantize/f32")->ArgName("threads")->Arg(1)->Arg(2)->UseManualTime()->Unit(benchmark::kMillisecond);

}  // namespace
