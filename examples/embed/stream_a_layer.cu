// SPDX-License-Identifier: Apache-2.0
// A layer that is larger than device memory: its experts pass through two buffers while saliency is observed. Ends with 77 where
// there is no device.
#include <cstdio>
#include <deque>
#include <random>
#include <utility>
#include <vector>

#include <cull/cuda.cuh>
#include <cull/router.hpp>
#include <cull/saliency.hpp>
#include <cull/tensor.hpp>

namespace {

using format = cull::nvfp4_modelopt;
constexpr std::int64_t tokens = 64, k = 2, hidden = 512, width = 256;
constexpr std::int32_t experts = 8;

std::vector<float> normal_values(std::int64_t size, unsigned seed) {
  std::mt19937 random{seed};
  std::normal_distribution<float> normal;
  std::vector<float> out(static_cast<std::size_t>(size));
  for (auto& v : out) v = normal(random);
  return out;
}

/// A checkpoint's layer: here quantised from noise, in an engine the views of `model.moe_layer(7)`.
struct host_layer {
  std::vector<cull::nvfp4_buffer> matrices{3 * experts};
  std::vector<cull::gated_expert<cull::matrix<format>>> views;

  host_layer() {
    for (std::size_t m = 0; m < matrices.size(); ++m) {
      bool const down = m % 3 == 2;
      std::int64_t const rows = down ? hidden : width, cols = down ? width : hidden;
      auto const values = normal_values(rows * cols, static_cast<unsigned>(m));
      cull::quantize(cull::on_cpu{}, cull::modelopt{}, cull::matrix_view<float const>{values.data(), rows, cols}, matrices[m]);
    }
    for (std::size_t e = 0; e < experts; ++e)
      views.push_back({matrices[3 * e].view(), matrices[3 * e + 1].view(), matrices[3 * e + 2].view()});
  }
};

/// Copies and kernels of one layer, and what is observed of it.
class streamed_layer {
 public:
  streamed_layer(cull::on_cuda exec, cudaStream_t copies, host_layer const& layer)
      : exec_(exec), copies_(copies), layer_(layer), each_(cull::expert_bytes(layer.views[0])), memory_(exec, 4 * each_) {}

  /// Adds the batch's norms to `seen`; half of the memory is an eighth of the layer.
  template <class Slot>
  void operator()(cull::matrix_view<float const, cull::device_memory> x, cull::routing<cull::device_memory> const& chosen,
                  Slot seen) {
    cull::device_buffer<double, cull::on_cuda> norms{exec_, chosen.tokens() * chosen.k()};
    cull::matrix_view<double, cull::device_memory> const all{norms.data(), chosen.tokens(), chosen.k()};
    auto const plan = cull::stream_plan(experts, {.expert_bytes = each_, .buffer_bytes = memory_.size()});
    cull::stream_layer(
        plan, copies_, exec_.stream(), [&](auto const& step, cudaStream_t stream) { copy(step, stream); },
        [&](auto const& step) {
          std::span const there{std::as_const(there_[step.buffer])};
          cull::some_expert_norms(exec_, there, {step.first, experts}, x, chosen, all);
        });
    cull::add(exec_, seen, chosen, {.norms = cull::matrix_view<double const, cull::device_memory>{all}});
  }

 private:
  void copy(cull::stream_step const& step, cudaStream_t stream) {
    auto const enqueue = [&](void* to, void const* from, std::size_t bytes) {
      cull::detail::check_cuda(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream), "copying an expert");
    };
    auto* const begin = memory_.data() + step.buffer * memory_.size() / 2;
    there_[step.buffer].clear();
    for (std::int32_t e = 0; e < step.count; ++e) {
      there_[step.buffer].push_back(
          cull::copy_expert(layer_.views[static_cast<std::size_t>(step.first + e)], begin + e * each_, enqueue));
    }
  }

  cull::on_cuda exec_;
  cudaStream_t copies_;
  host_layer const& layer_;
  std::int64_t each_;
  cull::device_buffer<std::uint8_t, cull::on_cuda> memory_;
  std::vector<cull::gated_expert<cull::matrix<format, cull::device_memory>>> there_[2];
};

template <class T>
cull::device_buffer<T, cull::on_cuda> on_device(cull::on_cuda const& exec, std::vector<T> const& values) {
  cull::device_buffer<T, cull::on_cuda> out{exec, static_cast<std::int64_t>(values.size())};
  exec.copy_in(out.data(), values.data(), out.bytes());
  return out;
}

int run() {
  cudaStream_t kernels = nullptr, copies = nullptr;
  cull::detail::check_cuda(cudaStreamCreate(&kernels), "a stream");
  cull::detail::check_cuda(cudaStreamCreate(&copies), "a stream");
  cull::on_cuda const exec{kernels};
  host_layer const layer;
  std::deque<cull::pinned_memory> pinned;  // so that copies overlap with kernels
  for (auto const& m : layer.matrices) {
    pinned.emplace_back(m.codes.data(), m.codes.size());
    pinned.emplace_back(m.scales.data(), m.scales.size());
  }

  auto const hidden_states = normal_values(tokens * hidden, 98), scores = normal_values(tokens * experts, 99);
  auto const x = on_device(exec, hidden_states), logits = on_device(exec, scores);
  auto routing = cull::routing_on(exec);
  cull::route(exec, cull::score<cull::softmax>() | cull::choose(k),
              cull::matrix_view<float const, cull::device_memory>{logits.data(), tokens, experts}, routing);
  auto seen = cull::observation_on(exec, {.layers = {7}, .experts = experts});
  streamed_layer stream{exec, copies, layer};
  stream({x.data(), tokens, hidden}, std::as_const(routing).view(), seen.at(7));

  // The same with all experts in device memory at once, while there are few: the same bits.
  cull::device_buffer<std::uint8_t, cull::on_cuda> memory{exec, experts * cull::expert_bytes(layer.views[0])};
  std::vector<cull::gated_expert<cull::matrix<format, cull::device_memory>>> all;
  for (auto const& e : layer.views) {
    auto* const to = memory.data() + std::ssize(all) * cull::expert_bytes(e);
    all.push_back(cull::copy_expert(e, to, [&](void* t, void const* from, std::size_t n) { exec.copy_in(t, from, n); }));
  }
  cull::device_buffer<double, cull::on_cuda> norms{exec, tokens * k};
  cull::expert_norms(exec, std::span{std::as_const(all)}, cull::matrix_view<float, cull::device_memory>{x.data(), tokens, hidden},
                     std::as_const(routing).view(), {norms.data(), tokens, k});
  auto whole = cull::observation_on(exec, {.layers = {7}, .experts = experts});
  cull::add(exec, whole.at(7), std::as_const(routing).view(),
            {.norms = cull::matrix_view<double const, cull::device_memory>{norms.data(), tokens, k}});

  auto const got = cull::to_host(seen);
  for (std::int32_t e = 0; e < experts; ++e) {
    auto const& sums = got.sums(7, e);
    std::printf("expert %d: %lld tokens, REAP %.6f\n", e, static_cast<long long>(sums.count()), cull::reap(sums));
  }
  return got == cull::to_host(whole) ? 0 : 1;
}

}  // namespace

int main() {
  int devices = 0;
  auto const status = cudaGetDeviceCount(&devices);
  if (status != cudaSuccess || devices == 0) {
    std::printf("no device: %s\n", cudaGetErrorString(status));
    return 77;
  }
  return run();
}
