# SPDX-License-Identifier: Apache-2.0
# What needs nvcc: tests that run on a device where there is one, the static checks of every kernel, consumers with CUDA.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES ${CULL_CUDA_ARCHITECTURES})
endif()
enable_language(CUDA)

# The backend against the CPU, where there is a device; elsewhere skipped. Blackwell's own code for its own instructions, PTX for the rest.
add_executable(cull_test_cuda_device cuda/device_test.cu)
target_link_libraries(cull_test_cuda_device PRIVATE cull::cuda)
target_compile_options(cull_test_cuda_device PRIVATE -O1 -Werror=all-warnings)
set_target_properties(cull_test_cuda_device PROPERTIES CUDA_ARCHITECTURES "80-virtual;100a-real;120a-real")
add_test(NAME cuda.device COMMAND cull_test_cuda_device)
set_tests_properties(cuda.device PROPERTIES SKIP_RETURN_CODE 77)
