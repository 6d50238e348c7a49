// SPDX-License-Identifier: Apache-2.0
// The same product on one thread by other libraries, from weights that they hold as f32, seven times the memory. The ratio
// is above 1 where cull is faster.
#include <Eigen/Core>
#include <string>

#include <cull/cpu/eigen.hpp>
#include <cull/expert.hpp>
#include <cull/tensor.hpp>

#if defined(CULL_BENCHMARK_OPENBLAS)
#include <cblas.h>
#endif

#include "paired.hpp"
#include "weights.hpp"

namespace {

constexpr std::int64_t hidden = 6144, width = 2048, matrices = 4;

/// Matrices in NVFP4, and dequantised.
struct both {
  both() : packed(matrices, width, hidden), plain(matrices * width * hidden) {
    for (std::int64_t i = 0; i < matrices; ++i) cull::dequantize(cull::on_cpu{}, packed[i], view(i));
  }
  cull::matrix_view<float> view(std::int64_t i) const { return {plain.data() + i * width * hidden, width, hidden}; }
  benchmarks::nvfp4_matrices packed;
  cull::detail::aligned_buffer<float> plain;
};

template <class Peer>
void product(benchmark::State& state, Peer const& peer) {
  static both const weights;
  auto const tokens = state.range(0);
  auto const x = benchmarks::activations(tokens, hidden);
  std::vector<float> y(static_cast<std::size_t>(tokens * width));
  cull::matrix_view<float const> const in{x.data(), tokens, hidden};
  cull::matrix_view<float> const out{y.data(), tokens, width};
  double const operations = 2.0 * static_cast<double>(tokens * hidden * width);
  std::int64_t own = 0, other = 0;
  benchmarks::compare(
      state, operations, [&] { cull::matmul(cull::on_cpu{}, in, weights.packed[own++ % matrices], out); }, operations,
      [&] { peer(in, weights.view(other++ % matrices), out); });
}

void by_eigen(cull::matrix_view<float const> x, cull::matrix_view<float> w, cull::matrix_view<float> y) {
  cull::as_eigen(y).noalias() = cull::as_eigen(x) * cull::as_eigen(w).transpose();
}

#if defined(CULL_BENCHMARK_OPENBLAS)
void by_openblas(cull::matrix_view<float const> x, cull::matrix_view<float> w, cull::matrix_view<float> y) {
  auto const n = [](std::int64_t size) { return static_cast<int>(size); };
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n(y.rows()), n(y.cols()), n(x.cols()), 1.0f, x.data(), n(x.stride()),
              w.data(), n(w.stride()), 0.0f, y.data(), n(y.stride()));
}
#endif

[[maybe_unused]] bool const registered = [] {
  auto const add = [](std::string const& name, auto peer) {
    auto* const added = benchmark::RegisterBenchmark(name.c_str(), [peer](benchmark::State& state) { product(state, peer); });
    added->ArgName("tokens")->Arg(1)->Arg(8)->Arg(64)->Arg(256)->UseManualTime()->Unit(benchmark::kMillisecond);
  };
  add("peer/eigen", by_eigen);
#if defined(CULL_BENCHMARK_OPENBLAS)
  openblas_set_num_threads(1);
  add("peer/openblas", by_openblas);
#endif
  return true;
}();

}  // namespace
