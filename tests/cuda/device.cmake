# SPDX-License-Identifier: Apache-2.0
# What needs nvcc: the static checks of every kernel, what must not compile, consumers with CUDA, and tests that run on a device
# where there is one.
cull_own_cuda()

set(cuda_checks ${CMAKE_CURRENT_LIST_DIR}/static)
set(cuda_work ${CMAKE_CURRENT_BINARY_DIR}/cuda)
find_package(Python3 REQUIRED COMPONENTS Interpreter)

# Every kernel for every architecture against tests/cuda/budgets.json; its cubins serve the tests after it.
add_test(NAME cuda.kernels
         COMMAND ${Python3_EXECUTABLE} ${cuda_checks}/kernels.py --nvcc ${CMAKE_CUDA_COMPILER} --compiler ${CMAKE_CXX_COMPILER}
                 --cuda ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES} --source ${PROJECT_SOURCE_DIR} --work ${cuda_work}/kernels)
add_test(NAME cuda.roofline COMMAND ${Python3_EXECUTABLE} ${cuda_checks}/roofline.py ${cuda_work}/kernels)
add_test(NAME cuda.clang_syntax COMMAND bash ${cuda_checks}/clang.sh ${PROJECT_SOURCE_DIR} ${cuda_work} ${CUDAToolkit_BIN_DIR}/..)
add_test(NAME cuda.absent COMMAND bash ${cuda_checks}/absent.sh ${PROJECT_SOURCE_DIR} ${cuda_work}/absent ${CMAKE_COMMAND} ${Python3_EXECUTABLE})
set_tests_properties(cuda.kernels PROPERTIES FIXTURES_SETUP cull_cubins PROCESSORS 2 COST 1000)
set_tests_properties(cuda.roofline PROPERTIES FIXTURES_REQUIRED cull_cubins SKIP_RETURN_CODE 77)
set_tests_properties(cuda.clang_syntax PROPERTIES SKIP_RETURN_CODE 77)

# The programs of the room cuda leave the names of the bodies that they executed.
set(cuda_executed ${cuda_work}/executed)
add_test(NAME cuda.forget_executed COMMAND ${CMAKE_COMMAND} -E rm -rf ${cuda_executed})
add_test(NAME cuda.empty_executed COMMAND ${CMAKE_COMMAND} -E make_directory ${cuda_executed})
set_tests_properties(cuda.forget_executed PROPERTIES FIXTURES_SETUP cull_executed_forgotten)
set_tests_properties(cuda.empty_executed PROPERTIES FIXTURES_SETUP cull_executed_empty FIXTURES_REQUIRED cull_executed_forgotten)
file(GLOB cuda_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*_test.cpp)
foreach(source IN LISTS cuda_tests)
  cmake_path(GET source STEM name)
  set_tests_properties(cuda.${name} PROPERTIES ENVIRONMENT CULL_EXECUTED_BODIES=${cuda_executed} FIXTURES_REQUIRED cull_executed_empty
                       FIXTURES_SETUP cull_executed)
endforeach()
add_test(NAME cuda.every_kernel_executed COMMAND ${Python3_EXECUTABLE} ${cuda_checks}/executed.py ${cuda_work}/kernels ${cuda_executed})
set_tests_properties(cuda.every_kernel_executed PROPERTIES FIXTURES_REQUIRED "cull_cubins;cull_executed")

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

# The backend against the CPU, where there is a device; elsewhere skipped.
add_executable(cull_test_cuda_device cuda/device_test.cu)
target_link_libraries(cull_test_cuda_device PRIVATE cull::cuda)
target_compile_options(cull_test_cuda_device PRIVATE -Werror=all-warnings)
add_test(NAME cuda.device COMMAND cull_test_cuda_device)
set_tests_properties(cuda.device PROPERTIES SKIP_RETURN_CODE 77)
