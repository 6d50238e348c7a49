# SPDX-License-Identifier: Apache-2.0
# The program as a user drives it: each script gets the binary and the folder of the test data.
file(GLOB program_scripts CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*_test.sh)
foreach(script IN LISTS program_scripts)
  cmake_path(GET script STEM name)
  add_test(NAME program.${name} COMMAND bash ${script} $<TARGET_FILE:cull_cli> ${CMAKE_CURRENT_SOURCE_DIR}/data)
  set_tests_properties(program.${name} PROPERTIES SKIP_RETURN_CODE 77)
endforeach()
