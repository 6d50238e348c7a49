// SPDX-License-Identifier: Apache-2.0
// Products and whole experts of GLM-5.2's shape (hidden 6144, width 2048) from NVFP4, against the machine's peak of products.
#include <cstring>
#include <string>

#include <cull/expert.hpp>

#include "ceilings.hpp"
#include "paired.hpp"
#include "weights.hpp"

namespace {

using benchmarks::product_kind;

constexpr std::int64_t hidden = 6144, width = 2048;

struct setting {
  char const* name;
  cull::isa level;
  product_kind kind;
};
constexpr setting settings[] = {{"bf16/amx_bf16", cull::isa::amx_bf16, product_kind::bf16},
                                {"bf16/avx512_bf16", cull::isa::avx512_bf16, product_kind::bf16},
                                {"f32/avx512", cull::isa::avx512, product_kind::f32},
                                {"f32/avx2", cull::isa::avx2, product_kind::f32}};

constexpr setting fixed_point_settings[] = {{"bf16/avx512_bf16", cull::isa::avx512_bf16, product_kind::bf16},
                                            {"f32/avx512_bf16", cull::isa::avx512_bf16, product_kind::f32},
                                            {"bf16/avx2", cull::isa::avx2, product_kind::bf16},
                                            {"f32/avx2", cull::isa::avx2, product_kind::f32}};

template <class Work>
void against_peak(benchmark::State& state, setting const& with, int threads, double operations, Work&& work) {
  auto const per_step = benchmarks::peak_products(with.level, with.kind, 1, threads);
  auto const steps = static_cast<std::int64_t>(operations / per_step) + 1;
  benchmarks::compare(state, operations, work, per_step * static_cast<double>(steps),
                      [&] { benchmarks::peak_products(with.level, with.kind, steps, threads); });
}

template <class Precision>
void matmul(benchmark::State& state, setting with, std::int64_t tokens, int threads) {
  static benchmarks::nvfp4_matrices const weights{8, width, hidden};
  auto const x = benchmarks::activations(tokens, hidden);
  std::vector<float> y(static_cast<std::size_t>(tokens * width));
  std::int64_t next = 0;
  against_peak(state, with, threads, 2.0 * static_cast<double>(tokens * hidden * width), [&] {
    cull::matmul<Precision>(cull::on_cpu{threads, with.level}, cull::matrix_view<float const>{x.data(), tokens, hidden},
                            weights[next++ % weights.count()], cull::matrix_view<float>{y.data(), tokens, width});
  });
}

template <class Precision>
void expert_mlp(benchmark::State& state, setting with, std::int64_t tokens, int threads) {
  static benchmarks::nvfp4_matrices const entering{8, width, hidden}, leaving{4, hidden, width};
  auto const x = benchmarks::activations(tokens, hidden);
  std::vector<float> y(x.size());
  std::int64_t next = 0;
  against_peak(state, with, threads, 6.0 * static_cast<double>(tokens * hidden * width), [&] {
    auto const e = next++ % leaving.count();
    cull::expert_mlp<Precision>(
        cull::on_cpu{threads, with.level},
        cull::gated_expert<cull::matrix<cull::nvfp4_modelopt>>{entering[2 * e], entering[2 * e + 1], leaving[e]},
        cull::matrix_view<float const>{x.data(), tokens, hidden}, cull::matrix_view<float>{y.data(), tokens, hidden});
  });
}

/// One expert's packed bytes against reading as many.
template <class Precision>
void one_token(benchmark::State& state, setting with, std::int64_t tokens, int threads) {
  static benchmarks::nvfp4_matrices const entering{24, width, hidden}, leaving{12, hidden, width};
  auto const x = benchmarks::activations(tokens, hidden);
  std::vector<float> y(x.size());
  std::int64_t next = 0;
  double const bytes = 2 * entering.bytes() + leaving.bytes();
  cull::detail::aligned_buffer<std::byte> other{std::int64_t{512} << 20};
  std::memset(other.data(), 1, std::size_t{512} << 20);
  auto const size = static_cast<std::size_t>(bytes) / 4096 * 4096;
  std::size_t at = 0;
  benchmarks::compare(
      state, bytes,
      [&] {
        auto const e = next++ % leaving.count();
        cull::expert_mlp<Precision>(
            cull::on_cpu{threads, with.level},
            cull::gated_expert<cull::matrix<cull::nvfp4_modelopt>>{entering[2 * e], entering[2 * e + 1], leaving[e]},
            cull::matrix_view<float const>{x.data(), tokens, hidden}, cull::matrix_view<float>{y.data(), tokens, hidden});
      },
      static_cast<double>(size),
      [&] {
        benchmarks::stream_read({other.data() + at, size}, threads);
        at = (at + size) % (std::size_t{480} << 20) / 4096 * 4096;
      });
}

void add(std::string const& what, setting const& with, std::int64_t tokens, int threads, auto run) {
  auto const name = what + "/" + with.name + "/tokens:" + std::to_string(tokens) + "/threads:" + std::to_string(threads);
  benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) { run(state, with, tokens, threads); })
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

[[maybe_unused]] bool const registered = [] {
  for (auto const& with : settings) {
    if (with.level > cull::best_isa()) continue;
    bool const bf16 = with.kind == product_kind::bf16;
    for (int const threads : {1, 2}) {
      add("expert_mlp/packed_bytes", with, 1, threads, bf16 ? one_token<cull::bf16_precision> : one_token<cull::f32_precision>);
    }
    for (std::int64_t const tokens : {1, 8, 16, 64, 256}) {
      for (int const threads : {1, 2}) {
        add("matmul", with, tokens, threads, bf16 ? matmul<cull::bf16_precision> : matmul<cull::f32_precision>);
        add("expert_mlp", with, tokens, threads, bf16 ? expert_mlp<cull::bf16_precision> : expert_mlp<cull::f32_precision>);
      }
    }
  }
  for (auto const& with : fixed_point_settings) {
    if (with.level > cull::best_isa()) continue;
    bool const bf16 = with.kind == product_kind::bf16;
    for (int const threads : {1, 2}) {
      add("expert_mlp/packed_bytes/latency", with, 1, threads,
          bf16 ? one_token<cull::latency<cull::bf16_precision>> : one_token<cull::latency<cull::f32_precision>>);
    }
  }
  return true;
}();

}  // namespace
