// SPDX-License-Identifier: Apache-2.0
// Prints a digest of every number that routing, experts and saliency produce on seeded inputs.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include <cull/cpu.hpp>
#include <cull/saliency.hpp>

namespace {

std::uint64_t digest = 14695981039346656037u;

void absorb(void const* data, std::size_t size) {
  auto const* bytes = static_cast<unsigned char const*>(data);
  for (std::size_t i = 0; i < size; ++i) digest = (digest ^ bytes[i]) * 1099511628211u;
}

std::vector<float> random_values(std::size_t count, unsigned seed) {
  std::minstd_rand engine{seed};
  std::vector<float> values(count);
  for (auto& v : values) v = static_cast<float>(static_cast<int>(engine() % 20001) - 10000) / 7001.0f;
  return values;
}

}  // namespace

int main() {
  constexpr int hidden = 64, width = 48, experts = 12, tokens = 33;
  std::vector<std::vector<float>> storage;
  auto const weights = [&](int rows, int cols) {
    storage.push_back(random_values(static_cast<std::size_t>(rows * cols), static_cast<unsigned>(storage.size() + 1)));
    cull::matrix<cull::f32_format> m;
    m.parts = cull::f32_format::parts{storage.back().data(), cols};
    m.rows = rows;
    m.cols = cols;
    return cull::weight_matrix{m};
  };
  storage.reserve(64);
  cull::moe_layer<> layer;
  layer.number = 3;
  layer.router.top_k = 4;
  layer.router_weight = weights(experts, hidden);
  for (int e = 0; e < experts; ++e) layer.experts.push_back({weights(width, hidden), weights(width, hidden), weights(hidden, width)});
  auto const router = cull::score<cull::softmax>() | cull::choose(4) | cull::renormalize(1e-20f) | cull::scale(2.5f);
  cull::on_cpu const exec{2};
  cull::observation seen{exec, {.layers = {3}, .experts = experts}};
  cull::collector collect{exec, router, layer};
  auto const x = random_values(tokens * hidden, 99);
  auto const y = collect({.router_input = cull::matrix_view<float const>{x.data(), tokens, hidden}}, seen.at(3));
  for (int t = 0; t < tokens; ++t) absorb(y.row(t).data(), sizeof(float) * hidden);
  seen.finish();
  for (int e = 0; e < experts; ++e) {
    for (double const s : {cull::reap(seen.sums(3, e)), seen.sums(3, e).standard_error(cull::gate_norm)}) absorb(&s, sizeof s);
  }
  for (float v = -110.0f; v < 100.0f; v += 0.37f) {
    float const e = cull::exp_f32(v);
    absorb(&e, sizeof e);
  }
  std::vector<std::uint8_t> codes(width * 8 * hidden), scales(width * hidden);
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>(37 * i + i / 251);
  for (std::size_t i = 0; i < scales.size(); ++i) scales[i] = static_cast<std::uint8_t>(i * 7 % 0x7f);
  cull::matrix<cull::nvfp4_modelopt> const packed{{codes.data(), scales.data(), 0.01f, 16 * hidden}, width, 16 * hidden};
  std::vector<float> few(2 * width);
  cull::matmul<cull::latency<cull::f32_precision>>(exec, cull::matrix_view<float const>{x.data(), 2, 16 * hidden}, packed,
                                                   cull::matrix_view<float>{few.data(), 2, width});
  absorb(few.data(), sizeof(float) * few.size());
  std::printf("%016llx\n", static_cast<unsigned long long>(digest));
}
