// SPDX-License-Identifier: Apache-2.0
// cull's operations, with CUB's sort and cudaMemcpy in the same run: "small" for a quick look, "glm" with GLM-5.2's sizes.
#include <vector>

#include <cub/device/device_radix_sort.cuh>
#include <cub/device/device_segmented_sort.cuh>

#include <cull/cuda.cuh>

#include "device.cuh"

namespace {

using namespace cuda_benchmarks;
using device_matrix = cull::matrix<cull::nvfp4_modelopt, cull::device_memory>;

struct sizes {
  std::int64_t hidden, width, experts;
};
constexpr sizes small{512, 256, 8}, glm{6144, 2048, 256};

template <class T>
void dequantize(benchmark::State& state, sizes s) {
  device_memory_of<std::uint8_t> codes{s.hidden * s.width / 2}, scales{s.hidden * s.width / 16};
  device_memory_of<T> out{s.hidden * s.width};
  cull::on_cuda const exec{};
  device_matrix const m{{codes.data(), scales.data(), 0.01f, s.hidden, 1}, s.width, s.hidden};
  cull::matrix_view<T, cull::device_memory> const to{out.data(), s.width, s.hidden};
  measure(state, static_cast<double>(s.hidden * s.width) * (0.5625 + sizeof(T)), 0, [&] { cull::dequantize(exec, m, to); });
}

template <class T>
void quantize(benchmark::State& state, sizes s) {
  device_memory_of<T> source{s.hidden * s.width};
  device_memory_of<std::uint8_t> codes{s.hidden * s.width / 2}, scales{s.hidden * s.width / 16};
  device_memory_of<float> scale{1};
  cull::on_cuda const exec{};
  cull::matrix_view<T, cull::device_memory> const from{source.data(), s.width, s.hidden};
  // The source is read twice: for its amax, then to code it.
  measure(state, static_cast<double>(s.hidden * s.width) * (2 * sizeof(T) + 0.5625), 0, [&] {
    cull::quantize(exec, cull::modelopt{}, from, {codes.data(), scales.data(), scale.data()});
  });
}

void copy(benchmark::State& state, sizes s) {
  device_memory_of<float> from{s.hidden * s.width}, to{s.hidden * s.width};
  auto const bytes = static_cast<std::size_t>(from.size()) * sizeof(float);
  measure(state, 2.0 * static_cast<double>(bytes), 0,
          [&] { cudaMemcpyAsync(to.data(), from.data(), bytes, cudaMemcpyDeviceToDevice); });
}

/// Experts of one layer, each token to one of them; they share the bytes of a quarter of a layer.
template <class Policy>
void experts(benchmark::State& state, sizes s) {
  auto const distinct = (s.experts + 3) / 4;
  auto const matrix_bytes = s.hidden * s.width / 2, scale_bytes = s.hidden * s.width / 16;
  device_memory_of<std::uint8_t> codes{3 * distinct * matrix_bytes}, scales{3 * distinct * scale_bytes};
  std::vector<cull::gated_expert<device_matrix>> layer;
  for (std::int64_t e = 0; e < s.experts; ++e) {
    auto const of = [&](std::int64_t part, std::int64_t rows, std::int64_t cols) {
      auto const at = 3 * (e % distinct) + part;
      return device_matrix{{codes.data() + at * matrix_bytes, scales.data() + at * scale_bytes, 0.01f, cols, 1}, rows, cols};
    };
    layer.push_back({of(0, s.width, s.hidden), of(1, s.width, s.hidden), of(2, s.hidden, s.width)});
  }
  auto const tokens = s.experts * state.range(0);
  std::vector<std::int32_t> host_ids;
  for (std::int64_t t = 0; t < tokens; ++t) host_ids.push_back(static_cast<std::int32_t>(t % s.experts));
  device_memory_of<std::int32_t> ids{tokens};
  cudaMemcpy(ids.data(), host_ids.data(), host_ids.size() * sizeof(std::int32_t), cudaMemcpyHostToDevice);
  device_memory_of<float> x{tokens * s.hidden}, weights{tokens}, out{tokens * s.hidden};
  cull::on_cuda const exec{};
  cull::routing<cull::device_memory> const chosen{{ids.data(), tokens, 1}, {weights.data(), tokens, 1}};
  double const values = 3.0 * static_cast<double>(s.hidden * s.width);
  measure(state, values * static_cast<double>(s.experts) * 9 / 16 + 8.0 * static_cast<double>(x.size()),
          2 * values * static_cast<double>(tokens), [&] {
            cull::run_experts<Policy>(exec, std::span<cull::gated_expert<device_matrix> const>{layer},
                                      cull::matrix_view<float const, cull::device_memory>{x.data(), tokens, s.hidden}, chosen,
                                      cull::matrix_view<float, cull::device_memory>{out.data(), tokens, s.hidden});
          });
}

/// What grouping by a sort would cost beside counting, which `run_experts` does.
void cub_sort_of_pairs(benchmark::State& state, std::int64_t pairs) {
  device_memory_of<std::int32_t> keys{pairs}, sorted{pairs}, values{pairs}, order{pairs};
  std::size_t bytes = 0;
  auto const sort = [&](void* scratch) {
    cub::DeviceRadixSort::SortPairs(scratch, bytes, keys.data(), sorted.data(), values.data(), order.data(),
                                    static_cast<int>(pairs), 0, 8);
  };
  sort(nullptr);
  device_memory_of<std::uint8_t> scratch{static_cast<std::int64_t>(bytes)};
  measure(state, 16.0 * static_cast<double>(pairs), 0, [&] { sort(scratch.data()); });
}
void group_pairs(benchmark::State& state, std::int64_t pairs) {
  constexpr unsigned experts = 256;
  device_memory_of<std::int32_t> ids{pairs}, order{pairs};
  device_memory_of<cull::simt::expert_tile> tiles{cull::simt::tile_bound(pairs, experts, 64)};
  cudaMemset(ids.data(), 0, static_cast<std::size_t>(pairs) * 4);
  cull::on_cuda const exec{};
  measure(state, 16.0 * static_cast<double>(pairs), 0, [&] {
    exec.launch({experts}, cull::simt::group_pairs<64>{ids.data(), 8, static_cast<std::int32_t>(pairs / 8), 8, order.data(),
                                                       tiles.data(), 0});
  });
}

/// The router of DeepSeek's kind: 8 of 256.
void route(benchmark::State& state, std::int64_t tokens) {
  constexpr std::int64_t experts = 256;
  device_memory_of<float> logits{tokens * experts}, bias{experts};
  cull::on_cuda const exec{};
  auto routing = cull::routing_on(exec);
  routing.resize(tokens, 8);
  auto const router = cull::score<cull::sigmoid>() |
                      cull::prefer(cull::array_view<float const, cull::device_memory>{bias.data(), experts}) | cull::choose(8) |
                      cull::renormalize(1e-20f) | cull::scale(2.5f);
  cull::matrix_view<float const, cull::device_memory> const rows{logits.data(), tokens, experts};
  measure(state, static_cast<double>(tokens) * (4.0 * experts + 8 * 8), 0,
          [&] { cull::route(exec, router, rows, routing.target()); });
}
/// What choosing by a sort of each row would cost, scores and weights not counted.
void cub_sort_of_rows(benchmark::State& state, std::int64_t tokens) {
  constexpr std::int64_t experts = 256;
  device_memory_of<float> scores{tokens * experts}, sorted{tokens * experts};
  device_memory_of<std::int32_t> ids{tokens * experts}, order{tokens * experts}, begins{tokens + 1};
  std::vector<std::int32_t> rows;
  for (std::int64_t t = 0; t <= tokens; ++t) rows.push_back(static_cast<std::int32_t>(t * experts));
  cudaMemcpy(begins.data(), rows.data(), rows.size() * sizeof(std::int32_t), cudaMemcpyHostToDevice);
  std::size_t bytes = 0;
  auto const sort = [&](void* scratch) {
    cub::DeviceSegmentedSort::SortPairsDescending(scratch, bytes, scores.data(), sorted.data(), ids.data(), order.data(),
                                                  static_cast<int>(tokens * experts), static_cast<int>(tokens), begins.data(),
                                                  begins.data() + 1);
  };
  sort(nullptr);
  device_memory_of<std::uint8_t> scratch{static_cast<std::int64_t>(bytes)};
  measure(state, static_cast<double>(tokens) * (4.0 * experts + 8 * 8), 0, [&] { sort(scratch.data()); });
}

/// Exact sums of 8 pairs a token, 256 experts.
void accumulate(benchmark::State& state, std::int64_t tokens) {
  std::vector<std::int32_t> host_ids;
  for (std::int64_t i = 0; i < tokens * 8; ++i) host_ids.push_back(static_cast<std::int32_t>(i * 37 % 256));
  device_memory_of<std::int32_t> ids{tokens * 8};
  cudaMemcpy(ids.data(), host_ids.data(), host_ids.size() * sizeof(std::int32_t), cudaMemcpyHostToDevice);
  device_memory_of<float> gates{tokens * 8};
  device_memory_of<double> norms{tokens * 8};
  cull::on_cuda const exec{};
  auto seen = cull::observation_on(exec, {.layers = {0}, .experts = 256});
  cull::routing<cull::device_memory> const chosen{{ids.data(), tokens, 8}, {gates.data(), tokens, 8}};
  cull::routed_tokens<cull::device_memory> const values{
      .norms = cull::matrix_view<double const, cull::device_memory>{norms.data(), tokens, 8}};
  measure(state, static_cast<double>(tokens) * 8 * 16, 0, [&] { cull::add(exec, seen.at(0), chosen, values); });
}

void quantize_f32(benchmark::State& state, sizes s) { quantize<float>(state, s); }
void quantize_bf16(benchmark::State& state, sizes s) { quantize<cull::bf16>(state, s); }
void dequantize_f32(benchmark::State& state, sizes s) { dequantize<float>(state, s); }
void dequantize_bf16(benchmark::State& state, sizes s) { dequantize<cull::bf16>(state, s); }
void experts_bf16(benchmark::State& state, sizes s) { experts<cull::bf16_precision>(state, s); }
void experts_f32(benchmark::State& state, sizes s) { experts<cull::f32_precision>(state, s); }
void experts_bf16_latency(benchmark::State& state, sizes s) { experts<cull::latency<cull::bf16_precision>>(state, s); }

BENCHMARK_CAPTURE(copy, small, small)->UseManualTime();
BENCHMARK_CAPTURE(copy, glm, glm)->UseManualTime();
BENCHMARK_CAPTURE(dequantize_f32, small, small)->UseManualTime();
BENCHMARK_CAPTURE(dequantize_f32, glm, glm)->UseManualTime();
BENCHMARK_CAPTURE(dequantize_bf16, glm, glm)->UseManualTime();
BENCHMARK_CAPTURE(quantize_f32, small, small)->UseManualTime();
BENCHMARK_CAPTURE(quantize_f32, glm, glm)->UseManualTime();
BENCHMARK_CAPTURE(quantize_bf16, glm, glm)->UseManualTime();
BENCHMARK_CAPTURE(route, small, std::int64_t{1} << 10)->UseManualTime();
BENCHMARK_CAPTURE(route, glm, std::int64_t{1} << 16)->UseManualTime();
BENCHMARK_CAPTURE(cub_sort_of_rows, small, std::int64_t{1} << 10)->UseManualTime();
BENCHMARK_CAPTURE(cub_sort_of_rows, glm, std::int64_t{1} << 16)->UseManualTime();
BENCHMARK_CAPTURE(accumulate, small, std::int64_t{1} << 10)->UseManualTime();
BENCHMARK_CAPTURE(accumulate, glm, std::int64_t{1} << 16)->UseManualTime();
BENCHMARK_CAPTURE(experts_bf16, small, small)->Arg(64)->UseManualTime();
BENCHMARK_CAPTURE(experts_bf16, glm, glm)->Arg(64)->Arg(256)->UseManualTime();
BENCHMARK_CAPTURE(experts_f32, glm, glm)->Arg(64)->UseManualTime();
BENCHMARK_CAPTURE(experts_bf16_latency, glm, glm)->Arg(1)->Arg(8)->UseManualTime();
BENCHMARK_CAPTURE(cub_sort_of_pairs, small, std::int64_t{1} << 16)->UseManualTime();
BENCHMARK_CAPTURE(cub_sort_of_pairs, glm, std::int64_t{1} << 20)->UseManualTime();
BENCHMARK_CAPTURE(group_pairs, small, std::int64_t{1} << 16)->UseManualTime();
BENCHMARK_CAPTURE(group_pairs, glm, std::int64_t{1} << 20)->UseManualTime();

}  // namespace
