// SPDX-License-Identifier: Apache-2.0
// The same product on one thread by other libraries, from weights that they hold as f32, seven times the memory, or as bf16 in an
// order of their own. The ratio is above 1 where cull is faster.
#include <Eigen/Core>
#include <string>

#include <cull/cpu/eigen.hpp>
#include <cull/expert.hpp>
#include <cull/tensor.hpp>

#if defined(CULL_BENCHMARK_OPENBLAS)
#include <cblas.h>
#endif

#if defined(CULL_BENCHMARK_ONEDNN)
#include <omp.h>
#include <dnnl.hpp>

#include <map>
#include <utility>
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

template <class Precision, class Peer>
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
      state, operations, [&] { cull::matmul<Precision>(cull::on_cpu{}, in, weights.packed[own++ % matrices], out); }, operations,
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

#if defined(CULL_BENCHMARK_ONEDNN)
/// bf16 products summed in f32. Weights are bf16 in the order that the library chooses, made once for each matrix; activations
/// are rounded in each call, as cull does.
class onednn_products {
 public:
  void operator()(cull::matrix_view<float const> x, cull::matrix_view<float> w, cull::matrix_view<float> y) {
    auto& product = product_of(x, w, y);
    auto& weights = weights_.try_emplace({x.rows(), w.data()}).first->second;
    if (!weights) weights = reordered(w.data(), {{w.cols(), w.rows()}, type::f32, tag::ba}, product.kind.weights_desc());
    dnnl::memory from{{{x.rows(), x.cols()}, type::f32, tag::ab}, engine_, const_cast<float*>(x.data())};
    dnnl::memory to{product.kind.dst_desc(), engine_, y.data()};
    dnnl::reorder{from, product.rounded}.execute(stream_, from, product.rounded);
    product.run.execute(stream_, {{DNNL_ARG_SRC, product.rounded}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, to}});
    stream_.wait();
  }

 private:
  using type = dnnl::memory::data_type;
  using tag = dnnl::memory::format_tag;
  struct product {
    dnnl::matmul::primitive_desc kind;
    dnnl::matmul run;
    dnnl::memory rounded;  ///< activations
  };

  product& product_of(cull::matrix_view<float const> x, cull::matrix_view<float> w, cull::matrix_view<float> y) {
    auto const [found, added] = products_.try_emplace(x.rows());
    if (!added) return found->second;
    dnnl::matmul::desc const wanted{{{x.rows(), x.cols()}, type::bf16, tag::ab},
                                    {{w.cols(), w.rows()}, type::bf16, tag::any},
                                    {{y.rows(), y.cols()}, type::f32, tag::ab}};
    dnnl::matmul::primitive_desc const kind{wanted, engine_};
    return found->second = {kind, dnnl::matmul{kind}, dnnl::memory{kind.src_desc(), engine_}};
  }
  dnnl::memory reordered(float* values, dnnl::memory::desc const& as, dnnl::memory::desc const& to) {
    dnnl::memory from{as, engine_, values}, out{to, engine_};
    dnnl::reorder{from, out}.execute(stream_, from, out);
    stream_.wait();
    return out;
  }

  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  std::map<std::int64_t, product> products_;  // by tokens
  std::map<std::pair<std::int64_t, float*>, dnnl::memory> weights_;
};

void by_onednn(cull::matrix_view<float const> x, cull::matrix_view<float> w, cull::matrix_view<float> y) {
  static onednn_products products;
  products(x, w, y);
}
#endif

[[maybe_unused]] bool const registered = [] {
  auto const add = []<class Precision>(std::string const& name, Precision, auto peer) {
    auto* const added =
        benchmark::RegisterBenchmark(name.c_str(), [peer](benchmark::State& state) { product<Precision>(state, peer); });
    added->ArgName("tokens")->Arg(1)->Arg(8)->Arg(64)->Arg(256)->UseManualTime()->Unit(benchmark::kMillisecond);
  };
  add("peer/eigen/f32", cull::f32_precision{}, by_eigen);
#if defined(CULL_BENCHMARK_OPENBLAS)
  openblas_set_num_threads(1);
  add("peer/openblas/f32", cull::f32_precision{}, by_openblas);
#endif
#if defined(CULL_BENCHMARK_ONEDNN)
  omp_set_num_threads(1);
  add("peer/onednn/bf16", cull::bf16_precision{}, by_onednn);
#endif
  return true;
}();

}  // namespace
