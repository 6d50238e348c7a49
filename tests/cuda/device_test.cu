// SPDX-License-Identifier: Apache-2.0
// The backend on a device, against the CPU, bit for bit. Without a device it says so and ends with status 77.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <cull/cuda.cuh>
#include <cull/cuda/mdspan.cuh>
#include <cull/expert.hpp>
#include <cull/router.hpp>
#include <cull/saliency.hpp>
#include <cull/tensor.hpp>

#include "../../examples/embed/moe_layer.hpp"

namespace {

int failures = 0;

void check(bool holds, std::string const& what) {
  std::printf("%s: %s\n", what.c_str(), holds ? "as on the CPU" : "DIFFERENT");
  failures += holds ? 0 : 1;
}

/// Device memory with what the host has; another engine's allocation, as far as the library knows.
template <class T>
class device_copy {
 public:
  explicit device_copy(std::size_t size) : size_(size) {
    cull::detail::check_cuda(cudaMalloc(&data_, size * sizeof(T)), "test memory");
  }
  explicit device_copy(std::vector<T> const& values) : device_copy(values.size()) {
    cull::detail::check_cuda(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice), "test memory");
  }
  device_copy(device_copy&& other) noexcept : size_(other.size_), data_(std::exchange(other.data_, nullptr)) {}
  device_copy(device_copy const&) = delete;
  device_copy& operator=(device_copy const&) = delete;
  ~device_copy() { cudaFree(data_); }
  T* data() const { return data_; }
  cull::array_view<T, cull::device_memory> view() const { return {data_, static_cast<std::int64_t>(size_)}; }
  cull::matrix_view<T, cull::device_memory> view(std::int64_t rows, std::int64_t cols) const { return {data_, rows, cols}; }
  std::vector<T> host() const {
    std::vector<T> out(size_);
    cull::detail::check_cuda(cudaDeviceSynchronize(), "test memory");
    cull::detail::check_cuda(cudaMemcpy(out.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost), "test memory");
    return out;
  }

 private:
  std::size_t size_;
  T* data_ = nullptr;
};

template <class T>
bool same_bytes(std::vector<T> const& a, std::vector<T> const& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

std::vector<float> random_values(std::int64_t size, std::uint64_t seed, float spread) {
  std::mt19937_64 random{seed};
  std::normal_distribution<float> normal{0.0f, spread};
  std::vector<float> out(static_cast<std::size_t>(size));
  for (auto& v : out) v = normal(random);
  return out;
}

template <class T>
void check_dequantize(cull::on_cuda const& exec, cull::nvfp4_buffer const& quantized, char const* type) {
  auto const size = static_cast<std::size_t>(quantized.rows * quantized.cols);
  std::vector<T> expected(size);
  cull::dequantize(cull::on_cpu{}, quantized.view(), cull::matrix_view<T>{expected.data(), quantized.rows, quantized.cols});
  device_copy<std::uint8_t> const codes{quantized.codes}, scales{quantized.scales};
  device_copy<T> const out{size};
  cull::matrix<cull::nvfp4_modelopt, cull::device_memory> const m{
      {codes.data(), scales.data(), quantized.tensor_scale, quantized.cols}, quantized.rows, quantized.cols};
  cull::dequantize(exec, m, cull::device_view(cull::as_mdspan(out.view(quantized.rows, quantized.cols))));
  check(same_bytes(out.host(), expected), std::string{"dequantize to "} + type);
}

void check_tensors(cull::on_cuda const& exec) {
  std::int64_t const rows = 300, cols = 1040;
  auto const values = random_values(rows * cols, 1, 0.02f);
  cull::nvfp4_buffer expected;
  cull::quantize(cull::on_cpu{}, cull::modelopt{}, cull::matrix_view<float const>{values.data(), rows, cols}, expected);
  device_copy<float> const source{values}, scale{1};
  device_copy<std::uint8_t> const codes{expected.codes.size()}, scales{expected.scales.size()};
  cull::nvfp4_target const target{codes.data(), scales.data(), scale.data()};
  cull::quantize(exec, cull::modelopt{}, source.view(rows, cols), target);
  auto const made = cull::quantized(exec, target, rows, cols);
  check(made.parts.tensor_scale == expected.tensor_scale && same_bytes(codes.host(), expected.codes) &&
            same_bytes(scales.host(), expected.scales),
        "quantize");
  check_dequantize<float>(exec, expected, "f32");
  check_dequantize<cull::bf16>(exec, expected, "bf16");
  check_dequantize<cull::f16>(exec, expected, "f16");

  std::vector<std::uint8_t> tiles(static_cast<std::size_t>(cull::tiled_128x4::size(rows, cols / 16)));
  cull::relayout<cull::linear, cull::tiled_128x4>(expected.scales, tiles, rows, cols / 16);
  device_copy<std::uint8_t> const tiled{tiles.size()}, back{expected.scales.size()};
  cull::relayout<cull::linear, cull::tiled_128x4>(exec, scales.view(), tiled.view(), rows, cols / 16);
  cull::relayout<cull::tiled_128x4, cull::linear>(exec, tiled.view(), back.view(), rows, cols / 16);
  check(same_bytes(tiled.host(), tiles) && same_bytes(back.host(), expected.scales), "relayout");
}

/// A user's own allocator, as cuda::mr resources of the toolkit are; counts what it gives.
struct own_scratch {
  int* given;

  void* allocate_async(std::size_t bytes, std::size_t, cudaStream_t) {
    void* memory = nullptr;
    cull::detail::check_cuda(cudaMalloc(&memory, bytes), "own scratch");
    ++*given;
    return memory;
  }
  void deallocate_async(void* memory, std::size_t, std::size_t, cudaStream_t stream) {
    cudaStreamSynchronize(stream);
    cudaFree(memory);
  }
};

/// Experts of random codes and scales in both memories.
template <class F>
struct random_layer {
  std::int64_t hidden, width;
  std::vector<std::vector<std::uint8_t>> bytes;
  std::vector<cull::gated_expert<cull::matrix<F>>> host;
  std::vector<device_copy<std::uint8_t>> copies;
  std::vector<cull::gated_expert<cull::matrix<F, cull::device_memory>>> device;

  random_layer(int experts, std::int64_t h, std::int64_t w) : hidden(h), width(w) {
    std::mt19937 random{12};
    for (int m = 0; m < 3 * experts; ++m) {
      add_bytes(h * w / 2, 0, 256, random);
      add_bytes(h * w / F::group, first_scale, 8, random);
    }
    auto const matrix = [&](auto space, auto const& at, int m) {
      std::int64_t const rows = m % 3 == 2 ? h : w, cols = m % 3 == 2 ? w : h;
      typename F::parts parts{};
      parts.codes = at(2 * m);
      parts.scales = at(2 * m + 1);
      parts.cols = cols;
      return cull::matrix<F, decltype(space)>{parts, rows, cols};
    };
    auto const here = [&](int i) { return bytes[static_cast<std::size_t>(i)].data(); };
    auto const there = [&](int i) { return copies[static_cast<std::size_t>(i)].data(); };
    for (auto const& b : bytes) copies.emplace_back(b);
    for (int e = 0; e < experts; ++e) {
      cull::host_memory const near{};
      cull::device_memory const far{};
      host.push_back({matrix(near, here, 3 * e), matrix(near, here, 3 * e + 1), matrix(near, here, 3 * e + 2)});
      device.push_back({matrix(far, there, 3 * e), matrix(far, there, 3 * e + 1), matrix(far, there, 3 * e + 2)});
    }
  }

 private:
  static constexpr int first_scale = std::is_same_v<F, cull::mxfp4> ? 118 : 0x28;  // products stay near 1

  void add_bytes(std::int64_t size, int first, int count, std::mt19937& random) {
    std::vector<std::uint8_t> out(static_cast<std::size_t>(size));
    for (auto& b : out) b = static_cast<std::uint8_t>(first + static_cast<int>(random() % static_cast<unsigned>(count)));
    bytes.push_back(std::move(out));
  }
};

/// Whether all numbers agree to `most` of the greatest.
template <class T>
bool alike(std::vector<T> const& a, std::vector<T> const& b, double most) {
  double greatest = 0, off = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    greatest = std::max(greatest, std::abs(static_cast<double>(b[i])));
    auto const d = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    off = d <= off ? off : d;  // NaN too
  }
  return a.size() == b.size() && greatest > 0 && off <= most * greatest;
}

/// Experts of one layer by every way: at once, by parts through two buffers, for few tokens; combined. f32 kernels are exact to
/// the order of summation.
template <class F>
void check_experts(cull::on_cuda const& exec, cudaStream_t copies, char const* format) {
  std::int64_t const tokens = 70, k = 2;
  std::int32_t const experts = 5;
  random_layer<F> const l{experts, 128, 64};
  auto const x = random_values(tokens * l.hidden, 7, 1.0f), gates = random_values(tokens * k, 8, 0.3f);
  std::vector<std::int32_t> ids;
  for (std::int32_t t = 0; t < tokens; ++t) ids.insert(ids.end(), {t % 4, 4 + (t == 11 ? 1 : 0)});  // one zero-compute expert
  auto const pairs = static_cast<std::size_t>(tokens * k);
  auto const size = pairs * static_cast<std::size_t>(l.hidden);
  cull::expert_use const use{.zero_experts = 1};

  std::vector<float> outputs(size), y(size / 2);
  std::vector<double> norms(pairs);
  cull::routing<> const chosen{{ids.data(), tokens, k}, {gates.data(), tokens, k}};
  cull::matrix_view<float const> const in{x.data(), tokens, l.hidden};
  cull::run_experts(cull::on_cpu{}, std::span{l.host}, in, chosen, {outputs.data(), tokens * k, l.hidden}, cull::silu{}, use);

  device_copy<float> const x_there{x}, gates_there{gates}, got{size}, parts{size}, few{size}, y_there{size / 2};
  device_copy<std::int32_t> const ids_there{ids};
  device_copy<double> const norms_there{pairs}, by_parts{pairs}, combined{pairs};
  cull::routing<cull::device_memory> const there{ids_there.view(tokens, k), gates_there.view(tokens, k)};
  auto const in_there = x_there.view(tokens, l.hidden);
  auto const rows = [&](device_copy<float> const& m) { return m.view(tokens * k, l.hidden); };
  std::span const all{l.device};
  cull::run_experts(exec, all, in_there, there, rows(got), cull::silu{}, use);
  check(alike(got.host(), outputs, 1e-4), std::string{"experts, "} + format);
  cull::run_experts<cull::latency<cull::f32_precision>>(exec, all, in_there, there, rows(few), cull::silu{}, use);
  check(same_bytes(few.host(), got.host()), std::string{"experts for few tokens, "} + format);
  cull::expert_norms(exec, all, in_there, there, norms_there.view(tokens, k), cull::silu{}, use);
  auto const outputs_there = got.host();
  cull::combine(cull::on_cpu{}, chosen, {outputs_there.data(), tokens * k, l.hidden}, {y.data(), tokens, l.hidden},
                {norms.data(), tokens, k});
  cull::combine(exec, there, cull::matrix_view<float const, cull::device_memory>{rows(got)}, y_there.view(tokens, l.hidden),
                combined.view(tokens, k));
  check(same_bytes(y_there.host(), y) && alike(combined.host(), norms, 1e-14), std::string{"combine, "} + format);
  check(alike(norms_there.host(), norms, 1e-4), std::string{"norms, "} + format);

  auto const each = cull::expert_bytes(l.host[0]);
  device_copy<std::uint8_t> const memory{static_cast<std::size_t>(4 * each)};
  std::vector<cull::gated_expert<cull::matrix<F, cull::device_memory>>> here[2];
  auto const copy = [&](cull::stream_step const& step, cudaStream_t stream) {
    here[step.buffer].clear();
    for (std::int32_t e = 0; e < step.count; ++e) {
      here[step.buffer].push_back(cull::copy_expert(
          l.host[static_cast<std::size_t>(step.first + e)], memory.data() + (2 * step.buffer + e) * each,
          [&](void* to, void const* from, std::size_t bytes) {
            cull::detail::check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream), "copying an expert");
          }));
    }
  };
  cull::stream_layer(
      cull::stream_plan(experts, {.expert_bytes = each, .buffer_bytes = 4 * each}), copies, exec.stream(), copy,
      [&](cull::stream_step const& step) {
        std::span const part{std::as_const(here[step.buffer])};
        cull::run_some_experts(exec, part, {step.first, experts}, in_there, there, rows(parts), cull::silu{}, use);
        cull::some_expert_norms(exec, part, {step.first, experts}, in_there, there, by_parts.view(tokens, k), cull::silu{}, use);
      });
  check(same_bytes(parts.host(), outputs_there) && same_bytes(by_parts.host(), norms_there.host()),
        std::string{"a streamed layer, "} + format);

  auto const one = static_cast<std::size_t>(tokens * l.hidden);
  std::vector<float> alone(one), product(static_cast<std::size_t>(tokens * l.width));
  device_copy<float> const alone_there{one}, product_there{product.size()};
  cull::expert_mlp(cull::on_cpu{}, l.host[1], in, {alone.data(), tokens, l.hidden});
  cull::expert_mlp(exec, l.device[1], in_there, alone_there.view(tokens, l.hidden));
  check(alike(alone_there.host(), alone, 1e-4), std::string{"one expert, "} + format);
  cull::matmul(cull::on_cpu{}, in, l.host[1].up, {product.data(), tokens, l.width});
  cull::matmul(exec, in_there, l.device[1].up, product_there.view(tokens, l.width));
  check(alike(product_there.host(), product, 1e-5), std::string{"matmul, "} + format);

  std::vector<float> values(static_cast<std::size_t>(l.width * l.hidden));
  device_copy<float> const values_there{values.size()};
  cull::dequantize(cull::on_cpu{}, l.host[0].up, cull::matrix_view<float>{values.data(), l.width, l.hidden});
  cull::dequantize(exec, l.device[0].up, values_there.view(l.width, l.hidden));
  check(same_bytes(values_there.host(), values), std::string{"dequantize, "} + format);
}

/// Observations of two batches, merged on the device.
void check_merge(cull::on_cuda const& exec) {
  std::int64_t const tokens = 300, k = 2;
  cull::observation_layout const layout{.layers = {3}, .experts = 6};
  auto expected = cull::observation_on(cull::on_cpu{}, layout);
  auto a = cull::observation_on(exec, layout), b = cull::observation_on(exec, layout);
  for (auto* each : {&a, &b}) {
    auto const gates = random_values(tokens * k, each == &a ? 1 : 2, 1.0f), norms = random_values(tokens * k, 3, 9.0f);
    std::vector<std::int32_t> ids;
    for (std::int32_t i = 0; i < tokens * k; ++i) ids.push_back(i * 5 % 6);
    std::vector<double> wide(norms.begin(), norms.end());
    cull::add(cull::on_cpu{}, expected.at(3), cull::routing<>{{ids.data(), tokens, k}, {gates.data(), tokens, k}},
              {.norms = cull::matrix_view<double const>{wide.data(), tokens, k}});
    device_copy<std::int32_t> const ids_there{ids};
    device_copy<float> const gates_there{gates};
    device_copy<double> const wide_there{wide};
    cull::add(exec, each->at(3), {ids_there.view(tokens, k), gates_there.view(tokens, k)},
              {.norms = cull::matrix_view<double const, cull::device_memory>{wide_there.view(tokens, k)}});
    exec.synchronize();
  }
  expected.finish();
  a.merge(b);
  check(cull::to_host(a) == expected, "merged observations");
}

void check_own_scratch(cudaStream_t stream) {
  int given = 0;
  cull::on_cuda_with<own_scratch> const exec{stream, own_scratch{&given}};
  std::int64_t const rows = 64, cols = 64;
  auto const values = random_values(rows * cols, 9, 1.0f);
  cull::nvfp4_buffer expected;
  cull::quantize(cull::on_cpu{}, cull::modelopt{}, cull::matrix_view<float const>{values.data(), rows, cols}, expected);
  device_copy<float> const source{values}, scale{1};
  device_copy<std::uint8_t> const codes{expected.codes.size()}, scales{expected.scales.size()};
  cull::quantize(exec, cull::modelopt{}, source.view(rows, cols), {codes.data(), scales.data(), scale.data()});
  check(same_bytes(codes.host(), expected.codes) && given > 0, "quantize with scratch from a user's allocator");
}

/// The engine of the example on both backends.
void check_engine(cull::on_cuda const& exec) {
  int const experts = 256, k = 4;
  std::int64_t const tokens = 1000;
  auto const bias = random_values(experts, 3, 0.1f), logits = random_values(tokens * experts, 4, 2.0f);
  auto norms = random_values(tokens * k, 5, 3.0f);
  for (auto& n : norms) n = std::fabs(n);
  std::vector<double> const weights(static_cast<std::size_t>(tokens), 1.5);
  std::vector<int> sequence(static_cast<std::size_t>(tokens));
  for (std::size_t t = 0; t < sequence.size(); ++t) sequence[t] = static_cast<int>(t / 100);
  cull::observation_layout const layout{.layers = {7}, .experts = experts};

  cull::on_cpu const cpu{};
  auto seen = cull::observation_on(cpu, layout);
  engine::moe_layer host{cpu, engine::router_of(cull::array_view<float const>{bias})};
  host(
      {logits.data(), tokens, experts},
      [&](auto const&) {
        return cull::matrix_view<float const>{norms.data(), tokens, k};
      },
      weights, sequence, seen.at(7));
  seen.finish();

  device_copy<float> const bias_there{bias}, logits_there{logits}, norms_there{norms};
  device_copy<double> const weights_there{weights};
  device_copy<int> const sequence_there{sequence};
  auto seen_there = cull::observation_on(exec, layout, cull::open_sequences{10});
  engine::moe_layer device{exec, engine::router_of(cull::array_view<float const, cull::device_memory>{bias_there.view()})};
  device(
      logits_there.view(tokens, experts), [&](auto const&) { return norms_there.view(tokens, k); }, weights_there.view(),
      sequence_there.view(), seen_there.at(7));
  check(cull::to_host(seen_there) == seen, "router and observation");

  auto const scores = random_values(3 * experts, 6, 1.0f);
  std::vector<double> const wide(scores.begin(), scores.end());
  device_copy<double> const scores_there{wide};
  device_copy<std::int32_t> const kept{3 * 168};
  device_copy<std::uint32_t> const refused{std::vector<std::uint32_t>{0}};
  cull::select_layers(exec, scores_there.view(3, experts), {168, 8}, kept.view(3, 168), refused.data());
  bool same = true;
  auto const got = kept.host();
  for (int l = 0; l < 3; ++l) {
    auto const expected =
        cull::select_layer(std::span{wide}.subspan(static_cast<std::size_t>(l * experts), experts), {168, 8}).kept;
    same = same && std::equal(expected.begin(), expected.end(), got.begin() + 168 * l);
  }
  check(same, "selection");
}

}  // namespace

int main() {
  int devices = 0;
  auto const status = cudaGetDeviceCount(&devices);
  if (status != cudaSuccess || devices == 0) {
    std::printf("no device: %s\n", cudaGetErrorString(status));
    return 77;
  }
  cudaStream_t stream = nullptr, copies = nullptr;
  cull::detail::check_cuda(cudaStreamCreate(&stream), "a stream");
  cull::detail::check_cuda(cudaStreamCreate(&copies), "a stream");
  check_tensors(cull::on_cuda{stream});
  check_engine(cull::on_cuda{stream});
  check_experts<cull::nvfp4_modelopt>(cull::on_cuda{stream}, copies, "NVFP4");
  check_experts<cull::mxfp4>(cull::on_cuda{stream}, copies, "MXFP4");
  check_merge(cull::on_cuda{stream});
  check_own_scratch(stream);
  cudaStreamDestroy(copies);
  cudaStreamDestroy(stream);
  return failures == 0 ? 0 : 1;
}
