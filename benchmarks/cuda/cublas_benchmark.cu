// SPDX-License-Identifier: Apache-2.0
// Peers: cuBLASLt's products of one expert's gate, bf16 on every device, NVFP4 by NVFP4 on those that have it (W4A4, so not the
// same mathematics). A product that the device or library refuses is reported as an error of that benchmark.
#include <cublasLt.h>

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

/// d [tokens, rows] = x [tokens, k] w^T, w [rows, k]; `type` of x and w, bf16 out.
void multiply(benchmark::State& state, cudaDataType_t type, double bytes_per_value) {
  std::int64_t const rows = 2048, k = 6144, tokens = state.range(0);
  layouts l;
  if (cublasLtCreate(&l.handle) != CUBLAS_STATUS_SUCCESS) return state.SkipWithError("cublasLtCreate refused");
  cublasLtMatmulDescCreate(&l.product, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  auto const transposed = CUBLAS_OP_T;
  cublasLtMatmulDescSetAttribute(l.product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
  device_memory_of<std::uint8_t> w{rows * k * 2}, x{tokens * k * 2}, d{rows * tokens * 2}, scales{(rows + tokens + 256) * k / 16},
      scratch{64 << 20};
  if (type == CUDA_R_4F_E2M1) {
    auto const mode = CUBLASLT_MATMUL_MATRIX_SCALE_VEC16_UE4M3;
    void const* const at = scales.data();
    for (auto const which : {CUBLASLT_MATMUL_DESC_A_SCALE_MODE, CUBLASLT_MATMUL_DESC_B_SCALE_MODE}) {
      cublasLtMatmulDescSetAttribute(l.product, which, &mode, sizeof mode);
    }
    for (auto const which : {CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER}) {
      cublasLtMatmulDescSetAttribute(l.product, which, &at, sizeof at);
    }
  }
  cublasLtMatrixLayoutCreate(&l.a, type, static_cast<std::uint64_t>(k), static_cast<std::uint64_t>(rows), k);
  cublasLtMatrixLayoutCreate(&l.b, type, static_cast<std::uint64_t>(k), static_cast<std::uint64_t>(tokens), k);
  cublasLtMatrixLayoutCreate(&l.d, CUDA_R_16BF, static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(tokens), rows);
  cublasLtMatmulPreferenceCreate(&l.preference);
  auto const limit = static_cast<std::size_t>(scratch.size());
  cublasLtMatmulPreferenceSetAttribute(l.preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &limit, sizeof limit);
  cublasLtMatmulHeuristicResult_t best{};
  int found = 0;
  cublasLtMatmulAlgoGetHeuristic(l.handle, l.product, l.a, l.b, l.d, l.d, l.preference, 1, &best, &found);
  if (found == 0) return state.SkipWithError("cuBLASLt has no such product on this device");
  float const one = 1.0f, zero = 0.0f;
  auto const values = static_cast<double>(rows * k + tokens * k);
  measure(state, values * bytes_per_value + 2.0 * static_cast<double>(rows * tokens),
          2.0 * static_cast<double>(rows * k * tokens), [&] {
            cublasLtMatmul(l.handle, l.product, &one, w.data(), l.a, x.data(), l.b, &zero, d.data(), l.d, d.data(), l.d,
                           &best.algo, scratch.data(), limit, nullptr);
          });
}

void cublas_bf16(benchmark::State& state) { multiply(state, CUDA_R_16BF, 2.0); }
void cublas_nvfp4(benchmark::State& state) { multiply(state, CUDA_R_4F_E2M1, 9.0 / 16); }

BENCHMARK(cublas_bf16)->Arg(64)->Arg(256)->UseManualTime();
BENCHMARK(cublas_nvfp4)->Arg(64)->Arg(256)->UseManualTime();

}  // namespace
