# SPDX-License-Identifier: Apache-2.0
# cull::cuda: cull::cull, the .cuh headers' language level, and the CUDA runtime that the consumer's CUDA_RUNTIME_LIBRARY names. A
# consumer's architectures are its own; those of cull's own tests and benchmarks are CULL_CUDA_ARCHITECTURES.
set(cull_cuda_default OFF)
if(PROJECT_IS_TOP_LEVEL)
  find_package(CUDAToolkit 13.0 QUIET)
  if(CUDAToolkit_FOUND AND CUDAToolkit_NVCC_EXECUTABLE)
    set(cull_cuda_default ON)
  elseif("$ENV{CI}" STREQUAL "true" AND NOT DEFINED CULL_CUDA)
    message(FATAL_ERROR "CI=true, and there is no CUDA toolkit with nvcc 13.0 or later: install it, or say -DCULL_CUDA=OFF")
  endif()
endif()
option(CULL_CUDA "Offer cull::cuda (needs the CUDA toolkit, 13.0 or later)" ${cull_cuda_default})
# Real code for each; PTX without the family's own instructions, so that the devices to come can run it.
set(CULL_CUDA_ARCHITECTURES "80-real;90a-real;100a-real;103a-real;120a-real;121a-real;120-virtual" CACHE STRING
    "Architectures of cull's own tests and benchmarks")
if(NOT CULL_CUDA)
  return()
endif()

find_package(CUDAToolkit 13.0 REQUIRED)
include(${CMAKE_CURRENT_LIST_DIR}/cull_cuda_architectures.cmake)
if(CMAKE_CUDA_ARCHITECTURES)
  cull_warn_of_plain_blackwell("${CMAKE_CUDA_ARCHITECTURES}")
endif()

add_library(cull_cuda INTERFACE)
add_library(cull::cuda ALIAS cull_cuda)
set_target_properties(cull_cuda PROPERTIES EXPORT_NAME cuda)
# CMake 3.25 knows no C++20 for nvcc, neither as a feature nor as CUDA_STANDARD.
target_compile_options(cull_cuda INTERFACE "$<$<COMPILE_LANG_AND_ID:CUDA,NVIDIA>:-std=c++20>")
set(cull_cuda_runtime "$<TARGET_PROPERTY:CUDA_RUNTIME_LIBRARY>")
target_link_libraries(cull_cuda INTERFACE cull
                      "$<IF:$<STREQUAL:$<UPPER_CASE:${cull_cuda_runtime}>,SHARED>,CUDA::cudart,CUDA::cudart_static>")
