# SPDX-License-Identifier: Apache-2.0
# The executor's other way to switch fibers, ucontext, for machines that are not x86-64: a small test runs on it everywhere.
add_executable(cull_test_cuda_portable cuda/select_test.cpp $<TARGET_OBJECTS:cull_test_main>)
target_compile_definitions(cull_test_cuda_portable PRIVATE CULL_SIMT_PORTABLE)
target_include_directories(cull_test_cuda_portable PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(cull_test_cuda_portable PRIVATE doctest::doctest cull::cull)
cull_own(cull_test_cuda_portable)
add_test(NAME cuda.portable_fibers COMMAND cull_test_cuda_portable)
