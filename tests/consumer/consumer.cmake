# SPDX-License-Identifier: Apache-2.0
# cull as others use it: a project of their own, by each of the three ways, and the same bits whatever their flags are.
foreach(way IN ITEMS add_subdirectory fetch_content find_package)
  add_test(NAME consumer.${way}
           COMMAND bash ${CMAKE_CURRENT_LIST_DIR}/consumer.sh ${way} ${PROJECT_SOURCE_DIR} ${CMAKE_CURRENT_BINARY_DIR}/consumer/${way}
                   ${CMAKE_CXX_COMPILER} ${CMAKE_COMMAND} ${PROJECT_BINARY_DIR})
endforeach()
add_test(NAME consumer.flags_change_no_bit
         COMMAND bash ${CMAKE_CURRENT_LIST_DIR}/flags.sh ${PROJECT_SOURCE_DIR} ${CMAKE_CURRENT_BINARY_DIR}/consumer/flags ${CMAKE_CXX_COMPILER})
