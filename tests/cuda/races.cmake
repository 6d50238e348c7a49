# SPDX-License-Identifier: Apache-2.0
# The library's bodies under the thread sanitizer: right ones are clean, and the mistakes that it must see are seen.
add_executable(cull_test_cuda_races cuda/races.cpp)
target_link_libraries(cull_test_cuda_races PRIVATE cull::cull)
cull_own(cull_test_cuda_races)
foreach(operation IN ITEMS dequantize dequantize_groups quantize relayout relayout_back route add select group_pairs gate_up down norms matmul
                     combine merge)
  add_test(NAME cuda.races.${operation} COMMAND cull_test_cuda_races ${operation} right)
endforeach()
foreach(mistake IN ITEMS "relayout without_barriers" "relayout_back without_barriers" "select without_barriers" "route without_warp_barriers"
                         "group_pairs without_second_barrier" "gate_up without_second_barrier" "down without_second_barrier"
                         "norms without_second_barrier" "matmul without_second_barrier" "combine without_barriers"
                         "dequantize_groups without_warp_barriers"
                         "quantize plain_atomics" "route plain_atomics" "add plain_atomics")
  separate_arguments(arguments UNIX_COMMAND "${mistake}")
  string(REPLACE " " "." name "${mistake}")
  add_test(NAME cuda.races.${name} COMMAND cull_test_cuda_races ${arguments})
  set_tests_properties(cuda.races.${name} PROPERTIES PASS_REGULAR_EXPRESSION "ThreadSanitizer: data race")
endforeach()
