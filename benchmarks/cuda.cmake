# SPDX-License-Identifier: Apache-2.0
# The CUDA backend's benchmarks: built with the others, exit 77 without a device.
cull_own_cuda()
file(GLOB cuda_benchmark_sources CONFIGURE_DEPENDS cuda/*.cu)
add_executable(cull_cuda_benchmarks ${cuda_benchmark_sources})
target_link_libraries(cull_cuda_benchmarks PRIVATE cull::cuda benchmark::benchmark CUDA::cublasLt)
if(CULL_BUILD_TESTS)
  add_test(NAME benchmarks.cuda COMMAND cull_cuda_benchmarks --benchmark_min_time=0.01 --benchmark_filter=small)
  set_tests_properties(benchmarks.cuda PROPERTIES SKIP_RETURN_CODE 77)
endif()
