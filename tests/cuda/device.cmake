# SPDX-License-Identifier: Apache-2.0
# What needs nvcc: tests that run on a device where there is one, the static checks of every kernel, consumers with CUDA.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES ${CULL_CUDA_ARCHITECTURES})
endif()
enable_language(CUDA)
