# SPDX-License-Identifier: Apache-2.0
# Every header compiles alone, included twice; all of them together are linked from two sources into one program; the one-way include rule
# of the rooms is a script.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
file(GLOB_RECURSE cull_headers RELATIVE ${PROJECT_SOURCE_DIR}/include CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/include/cull/*.hpp)
set(header_dir ${CMAKE_CURRENT_BINARY_DIR}/headers)
list(TRANSFORM cull_headers REPLACE "(.+)" "#include <\\1>\n" OUTPUT_VARIABLE all)
list(JOIN all "" all)
file(CONFIGURE OUTPUT ${header_dir}/first.cpp CONTENT "${all}int main() {}\n" @ONLY)
file(CONFIGURE OUTPUT ${header_dir}/second.cpp CONTENT "${all}" @ONLY)
add_executable(cull_test_headers ${header_dir}/first.cpp ${header_dir}/second.cpp)
target_link_libraries(cull_test_headers PRIVATE cull::checkpoint)
target_compile_options(cull_test_headers PRIVATE -O0)
cull_own(cull_test_headers)
# The compiler's own memory is not collected: a tenth less.
set(uncollected)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(uncollected --param ggc-min-expand=1000 --param ggc-min-heapsize=1500000)
endif()
add_test(NAME headers.alone
         COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_LIST_DIR}/alone.py ${PROJECT_SOURCE_DIR}/include ${CMAKE_CXX_COMPILER} ${uncollected}
                 -Wall -Wextra -Wconversion -Werror -isystem $<JOIN:$<TARGET_PROPERTY:Eigen3::Eigen,INTERFACE_INCLUDE_DIRECTORIES>,>)
set_tests_properties(headers.alone PROPERTIES PROCESSORS 2 COST 1000)
add_test(NAME headers.linked_twice COMMAND cull_test_headers)
add_test(NAME headers.rooms COMMAND bash ${CMAKE_CURRENT_LIST_DIR}/rooms.sh ${PROJECT_SOURCE_DIR})
add_test(NAME headers.family_names COMMAND bash ${CMAKE_CURRENT_LIST_DIR}/family_names.sh ${PROJECT_SOURCE_DIR})
