# SPDX-License-Identifier: Apache-2.0
# The CUDA backend's benchmarks: built with the others, exit 77 without a device.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES ${CULL_CUDA_ARCHITECTURES})
endif()
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
endif()
enable_language(CUDA)
file(GLOB cuda_benchmark_sources CONFIGURE_DEPENDS cuda/*.cu)
add_executable(cull_cuda_benchmarks ${cuda_benchmark_sources})
target_link_libraries(cull_cuda_benchmarks PRIVATE cull::cuda benchmark::benchmark CUDA::cublasLt)
# Blackwell's own code where it has its own instructions, PTX for what is between.
set_target_properties(cull_cuda_benchmarks PROPERTIES CUDA_ARCHITECTURES "80-virtual;100a-real;120a-real")
if(CULL_BUILD_TESTS)
  add_test(NAME benchmarks.cuda COMMAND cull_cuda_benchmarks --benchmark_min_time=0.01 --benchmark_filter=small)
  set_tests_properties(benchmarks.cuda PROPERTIES SKIP_RETURN_CODE 77)
endif()
