// SPDX-License-Identifier: Apache-2.0
// The backend on a device, against the CPU, bit for bit. Without a device it says so and ends with status 77.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include <cull/cuda.cuh>
#include <cull/cuda/mdspan.cuh>
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

/// A user's own allocator.
struct own_scratch {
  void* allocate(cudaStream_t, std::size_t bytes, std::size_t) const {
    void* memory = nullptr;
    cull::detail::check_cuda(cudaMalloc(&memory, bytes), "own scratch");
    return memory;
  }
  void deallocate(cudaStream_t stream, void* memory, std::size_t, std::size_t) const {
    cudaStreamSynchronize(stream);
    cudaFree(memory);
  }
};

void check_own_scratch(cudaStream_t stream) {
  cull::on_cuda_with<own_scratch> const exec{stream};
  cull::device_routing<cull::on_cuda_with<own_scratch>> routing{exec};
  routing.resize(3, 2);
  check(routing.view().tokens() == 3 && routing.view().ids.data() != nullptr, "scratch from a user's allocator");
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
  cudaStream_t stream = nullptr;
  cull::detail::check_cuda(cudaStreamCreate(&stream), "a stream");
  check_tensors(cull::on_cuda{stream});
  check_engine(cull::on_cuda{stream});
  check_own_scratch(stream);
  cudaStreamDestroy(stream);
  return failures == 0 ? 0 : 1;
}
