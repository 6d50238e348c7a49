# SPDX-License-Identifier: Apache-2.0
# cull_embed(HEADER NAMESPACE FILE...): writes a header with the text of each file as a std::string_view called like the file
# (style.css -> style_css); made again when a file changes.
function(cull_embed header namespace)
  set(text "// Made by cull_embed.\n#pragma once\n\n#include <string_view>\n\nnamespace ${namespace} {\n")
  foreach(file IN LISTS ARGN)
    cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR} OUTPUT_VARIABLE path)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${path})
    cmake_path(GET path FILENAME name)
    string(MAKE_C_IDENTIFIER ${name} name)
    # Whole, whatever is in it: file(READ) would take [ and ; for its own.
    file(READ ${path} content HEX)
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "\\\\x\\1" content "${content}")
    string(REGEX REPLACE "((\\\\x[0-9a-f][0-9a-f])+)" "\n    \"\\1\"" content "${content}")
    string(APPEND text "inline constexpr std::string_view ${name} =${content};\n")
  endforeach()
  file(CONFIGURE OUTPUT ${header} CONTENT "${text}}  // namespace ${namespace}\n" @ONLY)
endfunction()
