# SPDX-License-Identifier: Apache-2.0
# What must not compile: each file compiles as it is, and fails with CULL_FAIL defined, with the text on its first line
# (`// expected: TEXT`) among the errors. One file for both, so that a failure for another reason is noticed.
file(GLOB fail_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cpp)
foreach(source IN LISTS fail_sources)
  cmake_path(GET source STEM name)
  add_test(NAME fail.${name}
           COMMAND bash ${CMAKE_CURRENT_LIST_DIR}/must_fail.sh ${CMAKE_CXX_COMPILER} ${PROJECT_SOURCE_DIR}/include ${source})
endforeach()
# Calls whose templates are the same, by the dozen: the two kinds of memory.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
file(GLOB fail_together CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/together/*.cpp)
foreach(source IN LISTS fail_together)
  cmake_path(GET source STEM name)
  add_test(NAME fail.${name}
           COMMAND ${Python3_EXECUTABLE} ${CMAKE_CURRENT_LIST_DIR}/together/together.py ${CMAKE_CXX_COMPILER} ${PROJECT_SOURCE_DIR}/include ${source})
endforeach()
