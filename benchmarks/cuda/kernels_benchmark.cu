// SPDX-License-Identifier: Apache-2.0
// cull's operations, with CUB's sort and cudaMemcpy in the same run: "small" for a quick look, "glm" with GLM-5.2's sizes.
#include <algorithm>
#include <iterator>
#include <random>
#include <span>
#include <utility>
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
  auto const values = static_cast<double>(s.hidden * s.width);
  measure(state, {.bytes = values * (0.5625 + sizeof(T)), .f32_operations = values}, [&] { cull::dequantize(exec, m, to); });
}

template <class T>
void quantize(benchmark::State& state, sizes s) {
  device_memory_of<T> source{s.hidden * s.width};
  device_memory_of<std::uint8_t> codes{s.hidden * s.width / 2}, scales{s.hidden * s.width / 16};
  device_memory_of<float> scale{1};
  cull::on_cuda const exec{};
  cull::matrix_view<T, cull::device_memory> const from{source.data(), s.width, s.hidden};
  // The source is read twice: for its amax, then to code it.
  auto const values = static_cast<double>(s.hidden * s.width);
  measure(state, {.bytes = values * (2 * sizeof(T) + 0.5625), .f32_operations = 3 * values}, [&] {
    cull::quantize(exec, cull::modelopt{}, from, {codes.data(), scales.data(), scale.data()});
  });
}

void copy(benchmark::State& state, sizes s) {
  device_memory_of<float> from{s.hidden * s.width}, to{s.hidden * s.width};
  auto const bytes = static_cast<std::size_t>(from.size()) * sizeof(float);
  measure(state, {.bytes = 2.0 * static_cast<double>(bytes)},
          [&] { cudaMemcpyAsync(to.data(), from.data(), bytes, cudaMemcpyDeviceToDevice); });
}

/// k different experts a token, ascending, without a pattern.
void put_ids(device_memory_of<std::int32_t> const& ids, std::int64_t experts, std::int64_t k) {
  std::mt19937 random{5};
  std::vector<std::int32_t> all(static_cast<std::size_t>(experts)), host;
  for (std::size_t e = 0; e < all.size(); ++e) all[e] = static_cast<std::int32_t>(e);
  while (static_cast<std::int64_t>(host.size()) < ids.size()) {
    std::sample(all.begin(), all.end(), std::back_inserter(host), k, random);
  }
  cudaMemcpy(ids.data(), host.data(), static_cast<std::size_t>(ids.size()) * sizeof(std::int32_t), cudaMemcpyHostToDevice);
}

/// Experts of one layer that share the bytes of a quarter of it, in memory `Space`.
template <class F, class Space>
std::vector<cull::gated_expert<cull::matrix<F, Space>>> layer_at(std::uint8_t const* codes, std::uint8_t const* scales, sizes s) {
  auto const distinct = (s.experts + 3) / 4;
  auto const matrix_bytes = s.hidden * s.width / 2, scale_bytes = s.hidden * s.width / F::group;
  std::vector<cull::gated_expert<cull::matrix<F, Space>>> layer;
  for (std::int64_t e = 0; e < s.experts; ++e) {
    auto const of = [&](std::int64_t part, std::int64_t rows, std::int64_t cols) {
      auto const at = 3 * (e % distinct) + part;
      typename F::parts parts{};
      parts.codes = codes + at * matrix_bytes;
      parts.scales = scales + at * scale_bytes;
      parts.cols = cols;
      return cull::matrix<F, Space>{parts, rows, cols};
    };
    layer.push_back({of(0, s.width, s.hidden), of(1, s.width, s.hidden), of(2, s.hidden, s.width)});
  }
  return layer;
}

/// A batch of that many tokens an expert, each token with one expert.
struct expert_batch {
  std::int64_t tokens, hidden;
  device_memory_of<std::int32_t> ids{tokens};
  device_memory_of<float> x{tokens * hidden}, weights{tokens}, out{tokens * hidden};
  device_memory_of<double> norms{tokens};

  expert_batch(sizes s, std::int64_t of_expert) : tokens(s.experts * of_expert), hidden(s.hidden) {
    std::vector<std::int32_t> host_ids;
    for (std::int64_t t = 0; t < tokens; ++t) host_ids.push_back(static_cast<std::int32_t>(t % s.experts));
    cudaMemcpy(ids.data(), host_ids.data(), host_ids.size() * sizeof(std::int32_t), cudaMemcpyHostToDevice);
  }
  cull::matrix_view<float const, cull::device_memory> in() const { return {x.data(), tokens, hidden}; }
  cull::matrix_view<float, cull::device_memory> outputs() const { return {out.data(), tokens, hidden}; }
  cull::matrix_view<double, cull::device_memory> norms_out() const { return {norms.data(), tokens, 1}; }
  cull::routing<cull::device_memory> chosen() const { return {{ids.data(), tokens, 1}, {weights.data(), tokens, 1}}; }
};

double expert_bytes(sizes s, std::int64_t group) {
  return 3.0 * static_cast<double>(s.hidden * s.width * s.experts) * (0.5 + 1.0 / static_cast<double>(group));
}
double expert_operations(sizes s, std::int64_t tokens) { return 6.0 * static_cast<double>(s.hidden * s.width * tokens); }

enum class wanted { outputs, norms };

template <class Policy, class F = cull::nvfp4_modelopt, wanted What = wanted::outputs>
void experts(benchmark::State& state, sizes s) {
  auto const distinct = (s.experts + 3) / 4;
  device_memory_of<std::uint8_t> codes{3 * distinct * s.hidden * s.width / 2},
      scales{3 * distinct * s.hidden * s.width / F::group};
  auto const layer = layer_at<F, cull::device_memory>(codes.data(), scales.data(), s);
  std::span const all{layer};
  expert_batch const b{s, state.range(0)};
  double const rows = 4.0 * static_cast<double>(b.x.size());
  measure(state,
          {.bytes = expert_bytes(s, F::group) + rows * (What == wanted::outputs ? 2 : 1),
           .bf16_operations = expert_operations(s, b.tokens)},
          [&] {
            if constexpr (What == wanted::outputs) {
              cull::run_experts<Policy>(cull::on_cuda{}, all, b.in(), b.chosen(), b.outputs());
            } else {
              cull::expert_norms<Policy>(cull::on_cuda{}, all, b.in(), b.chosen(), b.norms_out());
            }
          });
}

/// The same layer in pinned host memory, through two buffers of an eighth of it; the bytes are those that come to the device.
void stream(benchmark::State& state, sizes s) {
  using format = cull::nvfp4_modelopt;
  auto const distinct = (s.experts + 3) / 4;
  auto const code_bytes = 3 * distinct * s.hidden * s.width / 2;
  std::uint8_t* host = nullptr;
  cull::detail::check_cuda(cudaMallocHost(&host, static_cast<std::size_t>(code_bytes * 9 / 8)), "pinned memory");
  cudaStream_t copies = nullptr;
  cull::detail::check_cuda(cudaStreamCreateWithFlags(&copies, cudaStreamNonBlocking), "a stream");
  auto const layer = layer_at<format, cull::host_memory>(host, host + code_bytes, s);
  auto const each = cull::expert_bytes(layer[0]);
  auto const at_once = (s.experts + 7) / 8;
  device_memory_of<std::uint8_t> memory{2 * at_once * each};
  expert_batch const b{s, state.range(0)};
  auto const plan =
      cull::stream_plan(static_cast<std::int32_t>(s.experts), {.expert_bytes = each, .buffer_bytes = memory.size()});
  std::vector<cull::gated_expert<device_matrix>> there[2];
  auto const copy = [&](cull::stream_step const& step, cudaStream_t stream) {
    there[step.buffer].clear();
    for (std::int32_t e = 0; e < step.count; ++e) {
      there[step.buffer].push_back(cull::copy_expert(
          layer[static_cast<std::size_t>(step.first + e)], memory.data() + (step.buffer * at_once + e) * each,
          [&](void* to, void const* from, std::size_t n) { cudaMemcpyAsync(to, from, n, cudaMemcpyHostToDevice, stream); }));
    }
  };
  auto const run = [&](cull::stream_step const& step) {
    cull::run_some_experts<cull::bf16_precision>(cull::on_cuda{}, std::span{std::as_const(there[step.buffer])},
                                                 {step.first, static_cast<std::int32_t>(s.experts)}, b.in(), b.chosen(),
                                                 b.outputs());
  };
  measure(state, {.bytes = expert_bytes(s, 16), .bf16_operations = expert_operations(s, b.tokens)},
          [&] { cull::stream_layer(plan, copies, nullptr, copy, run); });
  cudaStreamDestroy(copies);
  cudaFreeHost(host);
}
/// What copying alone costs: its peer.
void copy_to_device(benchmark::State& state, sizes s) {
  auto const bytes = static_cast<std::int64_t>(expert_bytes(s, 16) / 4);
  std::uint8_t* host = nullptr;
  cull::detail::check_cuda(cudaMallocHost(&host, static_cast<std::size_t>(bytes)), "pinned memory");
  device_memory_of<std::uint8_t> to{bytes};
  measure(state, {.bytes = static_cast<double>(bytes)},
          [&] { cudaMemcpyAsync(to.data(), host, static_cast<std::size_t>(bytes), cudaMemcpyHostToDevice); });
  cudaFreeHost(host);
}

/// Routed outputs and norms of 8 experts a token.
void combine(benchmark::State& state, sizes s) {
  std::int64_t const tokens = 16 * s.experts, k = 8;
  device_memory_of<float> f{tokens * k * s.hidden}, weights{tokens * k}, y{tokens * s.hidden};
  device_memory_of<std::int32_t> ids{tokens * k};
  device_memory_of<double> norms{tokens * k};
  auto const values = static_cast<double>(f.size());
  // Read twice, for the sum and for the norms; a fused operation each.
  measure(state, {.bytes = 8.0 * values + 4.0 * static_cast<double>(y.size()), .f32_operations = 4.0 * values}, [&] {
    cull::combine(cull::on_cuda{}, cull::routing<cull::device_memory>{{ids.data(), tokens, k}, {weights.data(), tokens, k}},
                  cull::matrix_view<float const, cull::device_memory>{f.data(), tokens * k, s.hidden},
                  {y.data(), tokens, s.hidden}, {norms.data(), tokens, k});
  });
}

/// Block scales of a matrix from rows to tiles.
void relayout(benchmark::State& state, sizes s) {
  device_memory_of<std::uint8_t> rows{s.hidden * s.width / 16}, tiles{s.hidden * s.width / 16};
  measure(state, {.bytes = 2.0 * static_cast<double>(rows.size())}, [&] {
    cull::relayout<cull::linear, cull::tiled_128x4>(
        cull::on_cuda{}, cull::array_view<std::uint8_t const, cull::device_memory>{rows.data(), rows.size()},
        {tiles.data(), tiles.size()}, s.width, s.hidden / 16);
  });
}

/// Observations of a model of 60 layers; their cells are read twice and written once.
void merge(benchmark::State& state, sizes s) {
  cull::observation_layout layout{.experts = static_cast<int>(s.experts)};
  for (int l = 0; l < 60; ++l) layout.layers.push_back(l);
  cull::on_cuda const exec{};
  auto a = cull::observation_on(exec, layout), b = cull::observation_on(exec, layout);
  using cells = typename decltype(a)::layout_type;
  measure(state, {.bytes = 3.0 * 60 * static_cast<double>(s.experts) * cells::words * 8}, [&] { a.merge(b); });
}

/// Two thirds of every layer's experts.
void select(benchmark::State& state, sizes s) {
  std::int64_t const layers = 60, kept = s.experts * 2 / 3;
  device_memory_of<double> scores{layers * s.experts};
  device_memory_of<std::int32_t> ids{layers * kept};
  device_memory_of<std::uint32_t> refused{1};
  measure(state,
          {.bytes = static_cast<double>(scores.size()) * 8 + static_cast<double>(ids.size()) * 4,
           .f32_operations = 2.0 * static_cast<double>(scores.size()) * static_cast<double>(s.experts)},
          [&] {
            cull::select_layers(cull::on_cuda{},
                                cull::matrix_view<double const, cull::device_memory>{scores.data(), layers, s.experts},
                                {static_cast<int>(kept)}, {ids.data(), layers, kept}, refused.data());
          });
}

void dequantize_mxfp4(benchmark::State& state, sizes s) {
  device_memory_of<std::uint8_t> codes{s.hidden * s.width / 2}, scales{s.hidden * s.width / 32};
  device_memory_of<cull::bf16> out{s.hidden * s.width};
  cull::matrix<cull::mxfp4, cull::device_memory> const m{{codes.data(), scales.data(), s.hidden, 1}, s.width, s.hidden};
  auto const values = static_cast<double>(s.hidden * s.width);
  measure(state, {.bytes = values * (0.53125 + 2), .f32_operations = values}, [&] {
    cull::dequantize(cull::on_cuda{}, m, cull::matrix_view<cull::bf16, cull::device_memory>{out.data(), s.width, s.hidden});
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
  measure(state, {.bytes = 16.0 * static_cast<double>(pairs)}, [&] { sort(scratch.data()); });
}
void group_pairs(benchmark::State& state, std::int64_t pairs) {
  constexpr unsigned experts = 256;
  device_memory_of<std::int32_t> ids{pairs}, order{pairs};
  device_memory_of<cull::simt::expert_tile> tiles{cull::simt::tile_bound(pairs, experts, 64)};
  put_ids(ids, experts, 8);
  cull::on_cuda const exec{};
  measure(state, {.bytes = 16.0 * static_cast<double>(pairs)}, [&] {
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
  // Of a score: an exponential, an addition, a quotient, a comparison in each of 8 rounds of its lane.
  measure(state,
          {.bytes = static_cast<double>(tokens) * (4.0 * experts + 8 * 8),
           .f32_operations = static_cast<double>(tokens) * experts * 11},
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
  measure(state, {.bytes = static_cast<double>(tokens) * (4.0 * experts + 8 * 8)}, [&] { sort(scratch.data()); });
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
  measure(state, {.bytes = static_cast<double>(tokens) * 8 * 16}, [&] { cull::add(exec, seen.at(0), chosen, values); });
}

void quantize_f32(benchmark::State& state, sizes s) { quantize<float>(state, s); }
void quantize_bf16(benchmark::State& state, sizes s) { quantize<cull::bf16>(state, s); }
void dequantize_f32(benchmark::State& state, sizes s) { dequantize<float>(state, s); }
void dequantize_bf16(benchmark::State& state, sizes s) { dequantize<cull::bf16>(state, s); }
void dequantize_f16(benchmark::State& state, sizes s) { dequantize<cull::f16>(state, s); }
void experts_bf16(benchmark::State& state, sizes s) { experts<cull::bf16_precision>(state, s); }
void experts_f32(benchmark::State& state, sizes s) { experts<cull::f32_precision>(state, s); }
void experts_bf16_latency(benchmark::State& state, sizes s) { experts<cull::latency<cull::bf16_precision>>(state, s); }
void experts_mxfp4(benchmark::State& state, sizes s) { experts<cull::bf16_precision, cull::mxfp4>(state, s); }
void norms_bf16(benchmark::State& state, sizes s) {
  experts<cull::bf16_precision, cull::nvfp4_modelopt, wanted::norms>(state, s);
}

BENCHMARK_CAPTURE(copy, small, small)->UseManualTime();
BENCHMARK_CAPTURE(copy, glm, glm)->UseManualTime();
BENCHMARK_CAPTURE(dequantize_f32, small, small)->UseManualTime();
BENCHMARK_CAPTURE(dequantize_f32, glm, glm)->UseManualTime();
BENCHMARK_CAPTURE(dequantize_bf16, glm, glm)->UseManualTime();
BENCHMARK_CAPTURE(dequantize_f16, glm, glm)->UseManualTime();
BENCHMARK_CAPTURE(dequantize_mxfp4, small, small)->UseManualTime();
BENCHMARK_CAPTURE(dequantize_mxfp4, glm, glm)->UseManualTime();
BENCHMARK_CAPTURE(relayout, small, small)->UseManualTime();
BENCHMARK_CAPTURE(relayout, glm, glm)->UseManualTime();
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
BENCHMARK_CAPTURE(experts_mxfp4, small, small)->Arg(64)->UseManualTime();
BENCHMARK_CAPTURE(experts_mxfp4, glm, glm)->Arg(64)->UseManualTime();
BENCHMARK_CAPTURE(norms_bf16, small, small)->Arg(64)->UseManualTime();
BENCHMARK_CAPTURE(norms_bf16, glm, glm)->Arg(64)->UseManualTime();
BENCHMARK_CAPTURE(copy_to_device, small, small)->UseManualTime();
BENCHMARK_CAPTURE(copy_to_device, glm, glm)->UseManualTime();
BENCHMARK_CAPTURE(stream, small, small)->Arg(64)->UseManualTime();
BENCHMARK_CAPTURE(stream, glm, glm)->Arg(64)->UseManualTime();
BENCHMARK_CAPTURE(combine, small, small)->UseManualTime();
BENCHMARK_CAPTURE(combine, glm, glm)->UseManualTime();
BENCHMARK_CAPTURE(merge, small, small)->UseManualTime();
BENCHMARK_CAPTURE(merge, glm, glm)->UseManualTime();
BENCHMARK_CAPTURE(select, small, small)->UseManualTime();
BENCHMARK_CAPTURE(select, glm, glm)->UseManualTime();
BENCHMARK_CAPTURE(cub_sort_of_pairs, small, std::int64_t{1} << 16)->UseManualTime();
BENCHMARK_CAPTURE(cub_sort_of_pairs, glm, std::int64_t{1} << 20)->UseManualTime();
BENCHMARK_CAPTURE(group_pairs, small, std::int64_t{1} << 16)->UseManualTime();
BENCHMARK_CAPTURE(group_pairs, glm, std::int64_t{1} << 20)->UseManualTime();

}  // namespace
