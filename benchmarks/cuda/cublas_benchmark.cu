// SPDX-License-Identifier: Apache-2.0
// Peers: cuBLASLt's products of one expert's gate, bf16 on every device, NVFP4 by NVFP4 on those that have it (W4A4, so not the
// same mathematics), beside cull's own product. What the device or library refuses is an error of that benchmark.
#include <string>

#include <cublasLt.h>

#include <cull/cuda/matmul.hpp>
#include <cull/cuda/on_cuda.cuh>

#include "device.cuh"

namespace {

using namespace cuda_benchmarks;

struct layouts {
  cublasLtHandle_t handle{};
  cublasLtMatmulDesc_t product{};
  cublasLtMatrixLayout_t a{}, b{}, d{};
  cublasLtMatmulPreference_t preference{};

  ~layouts() {
    cublasLtMatmulPreferenceDestroy(preference);
    for (auto* each : {a, b, d}) cublasLtMatrixLayoutDestroy(each);
    cublasLtMatmulDescDestroy(product);
    cublasLtDestroy(handle);
  }
};

struct product_size {
  std::int64_t rows, k;
};
constexpr product_size small{256, 512}, glm{2048, 6144};

double values_of(product_size p, std::int64_t tokens) { return static_cast<double>(p.rows * p.k + tokens * p.k); }
double operations_of(product_size p, std::int64_t tokens) { return 2.0 * static_cast<double>(p.rows * p.k * tokens); }

/// The status of the first call that failed.
class statuses {
 public:
  void operator()(cublasStatus_t status) { first_ = first_ == CUBLAS_STATUS_SUCCESS ? status : first_; }
  bool good() const { return first_ == CUBLAS_STATUS_SUCCESS; }
  std::string text() const { return std::string{"cuBLASLt: "} + cublasLtGetStatusString(first_); }

 private:
  cublasStatus_t first_ = CUBLAS_STATUS_SUCCESS;
};

/// d [tokens, rows] = x [tokens, k] w^T, w [rows, k]; `type` of x and w, bf16 out.
void multiply(benchmark::State& state, product_size p, cudaDataType_t type, double bytes_per_value) {
  auto const [rows, k] = p;
  std::int64_t const tokens = state.range(0);
  layouts l;
  statuses check;
  check(cublasLtCreate(&l.handle));
  check(cublasLtMatmulDescCreate(&l.product, CUBLAS_COMPUTE_32F, CUDA_R_32F));
  auto const set = [&](cublasLtMatmulDescAttributes_t what, auto const& value) {
    check(cublasLtMatmulDescSetAttribute(l.product, what, &value, sizeof value));
  };
  set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
  device_memory_of<std::uint8_t> w{rows * k * 2}, x{tokens * k * 2}, d{rows * tokens * 2}, scales{(rows + tokens + 256) * k / 16},
      scratch{64 << 20};
  if (type == CUDA_R_4F_E2M1) {
    for (auto const which : {CUBLASLT_MATMUL_DESC_A_SCALE_MODE, CUBLASLT_MATMUL_DESC_B_SCALE_MODE}) {
      set(which, CUBLASLT_MATMUL_MATRIX_SCALE_VEC16_UE4M3);
    }
    void const* const at = scales.data();
    for (auto const which : {CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER}) set(which, at);
  }
  auto const unsigned_of = [](std::int64_t size) { return static_cast<std::uint64_t>(size); };
  check(cublasLtMatrixLayoutCreate(&l.a, type, unsigned_of(k), unsigned_of(rows), k));
  check(cublasLtMatrixLayoutCreate(&l.b, type, unsigned_of(k), unsigned_of(tokens), k));
  check(cublasLtMatrixLayoutCreate(&l.d, CUDA_R_16BF, unsigned_of(rows), unsigned_of(tokens), rows));
  check(cublasLtMatmulPreferenceCreate(&l.preference));
  auto const limit = static_cast<std::size_t>(scratch.size());
  check(cublasLtMatmulPreferenceSetAttribute(l.preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &limit, sizeof limit));
  cublasLtMatmulHeuristicResult_t best{};
  int found = 0;
  check(cublasLtMatmulAlgoGetHeuristic(l.handle, l.product, l.a, l.b, l.d, l.d, l.preference, 1, &best, &found));
  if (!check.good()) return state.SkipWithError(check.text().c_str());
  if (found == 0) return state.SkipWithError("cuBLASLt has no such product on this device");
  float const one = 1.0f, zero = 0.0f;
  auto const run = [&] {
    check(cublasLtMatmul(l.handle, l.product, &one, w.data(), l.a, x.data(), l.b, &zero, d.data(), l.d, d.data(), l.d, &best.algo,
                         scratch.data(), limit, nullptr));
  };
  run();
  if (!check.good()) return state.SkipWithError(check.text().c_str());
  measure(state,
          {.bytes = values_of(p, tokens) * bytes_per_value + 2.0 * static_cast<double>(rows * tokens),
           .bf16_operations = operations_of(p, tokens)},
          run);
  if (!check.good()) state.SkipWithError(check.text().c_str());
}

/// cull's product of the same sizes, W4A16: f32 in and out.
template <class Policy>
void cull_matmul(benchmark::State& state, product_size p) {
  std::int64_t const tokens = state.range(0);
  device_memory_of<std::uint8_t> codes{p.rows * p.k / 2}, scales{p.rows * p.k / 16};
  device_memory_of<float> x{tokens * p.k}, y{tokens * p.rows};
  cull::matrix<cull::nvfp4_modelopt, cull::device_memory> const w{{codes.data(), scales.data(), 0.01f, p.k, 1}, p.rows, p.k};
  cull::matrix_view<float, cull::device_memory> const in{x.data(), tokens, p.k}, out{y.data(), tokens, p.rows};
  measure(state,
          {.bytes = static_cast<double>(p.rows * p.k) * 9 / 16 + 4.0 * static_cast<double>(tokens * (p.k + p.rows)),
           .bf16_operations = operations_of(p, tokens)},
          [&] { cull::matmul<Policy>(cull::on_cuda{}, in, w, out); });
}

void cublas_bf16(benchmark::State& state, product_size p) { multiply(state, p, CUDA_R_16BF, 2.0); }
void cublas_nvfp4(benchmark::State& state, product_size p) { multiply(state, p, CUDA_R_4F_E2M1, 9.0 / 16); }
void matmul_bf16(benchmark::State& state, product_size p) { cull_matmul<cull::bf16_precision>(state, p); }
void matmul_bf16_latency(benchmark::State& state, product_size p) { cull_matmul<cull::latency<cull::bf16_precision>>(state, p); }

BENCHMARK_CAPTURE(cublas_bf16, small, small)->Arg(64)->UseManualTime();
BENCHMARK_CAPTURE(cublas_bf16, glm, glm)->Arg(64)->Arg(256)->UseManualTime();
BENCHMARK_CAPTURE(cublas_nvfp4, small, small)->Arg(64)->UseManualTime();
BENCHMARK_CAPTURE(cublas_nvfp4, glm, glm)->Arg(64)->Arg(256)->UseManualTime();
BENCHMARK_CAPTURE(matmul_bf16, small, small)->Arg(64)->UseManualTime();
BENCHMARK_CAPTURE(matmul_bf16, glm, glm)->Arg(64)->Arg(256)->UseManualTime();
BENCHMARK_CAPTURE(matmul_bf16_latency, small, small)->Arg(8)->UseManualTime();
BENCHMARK_CAPTURE(matmul_bf16_latency, glm, glm)->Arg(1)->Arg(8)->UseManualTime();

}  // namespace
