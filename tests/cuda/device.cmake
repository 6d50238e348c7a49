# SPDX-License-Identifier: Apache-2.0
# What needs nvcc: the static checks of every kernel, what must not compile, consumers with CUDA, and tests that run on a device
# where there is one.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES ${CULL_CUDA_ARCHITECTURES})
endif()
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
  set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
endif()
enable_language(CUDA)

set(cuda_checks ${CMAKE_CURRENT_LIST_DIR}/static)
set(cuda_work ${CMAKE_CURRENT_BINARY_DIR}/cuda)
file(GLOB cuda_fails CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/fail/*.cu)
foreach(source IN LISTS cuda_fails)
  cmake_path(GET source STEM name)
  add_test(NAME cuda.fail.${name} COMMAND bash ${cuda_checks}/must_fail.sh ${CMAKE_CUDA_COMPILER} ${PROJECT_SOURCE_DIR}/include ${source})
endforeach()

foreach(way IN ITEMS add_subdirectory find_package)
  add_test(NAME cuda.consumer.${way}
           COMMAND bash ${CMAKE_CURRENT_LIST_DIR}/consumer/consumer.sh ${way} ${PROJECT_SOURCE_DIR} ${cuda_work}/consumer/${way}
                   ${CMAKE_CXX_COMPILER} ${CMAKE_COMMAND} ${PROJECT_BINARY_DIR})
endforeach()

# The backend against the CPU, where there is a device; elsewhere skipped. Blackwell's own code for its own instructions, PTX for the rest.
add_executable(cull_test_cuda_device cuda/device_test.cu)
target_link_libraries(cull_test_cuda_device PRIVATE cull::cuda)
target_compile_options(cull_test_cuda_device PRIVATE -O1 -Werror=all-warnings)
set_target_properties(cull_test_cuda_device PROPERTIES CUDA_ARCHITECTURES "80-virtual;100a-real;120a-real")
add_test(NAME cuda.device COMMAND cull_test_cuda_device)
set_tests_properties(cuda.device PROPERTIES SKIP_RETURN_CODE 77)
