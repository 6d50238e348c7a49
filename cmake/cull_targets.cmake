# SPDX-License-Identifier: Apache-2.0
# cull::cull: numeric to selection, and the CPU backend. cull::checkpoint: adds files. Both carry include paths and nothing else:
# no flags, no warnings, no definitions.
find_package(Eigen3 3.3 REQUIRED NO_MODULE)
find_package(Threads REQUIRED)

add_library(cull INTERFACE)
add_library(cull::cull ALIAS cull)
target_include_directories(cull INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)
target_compile_features(cull INTERFACE cxx_std_20)
target_link_libraries(cull INTERFACE Eigen3::Eigen Threads::Threads)

if(CULL_CHECKPOINT)
  find_package(nlohmann_json 3.9 REQUIRED)
  find_path(CULL_XXHASH_INCLUDE_DIR xxhash.h REQUIRED DOC "Folder of xxhash.h (Debian: libxxhash-dev), used header-only")
  mark_as_advanced(CULL_XXHASH_INCLUDE_DIR)
  add_library(cull_checkpoint INTERFACE)
  add_library(cull::checkpoint ALIAS cull_checkpoint)
  set_target_properties(cull_checkpoint PROPERTIES EXPORT_NAME checkpoint)
  target_link_libraries(cull_checkpoint INTERFACE cull nlohmann_json::nlohmann_json)
  if(NOT CULL_XXHASH_INCLUDE_DIR IN_LIST CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES)
    target_include_directories(cull_checkpoint SYSTEM INTERFACE $<BUILD_INTERFACE:${CULL_XXHASH_INCLUDE_DIR}>)
  endif()
endif()
