# SPDX-License-Identifier: Apache-2.0
# What cull's own programs and tests are compiled with; private to them, consumers see none of it.
if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES AND PROJECT_IS_TOP_LEVEL)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()

# Hashing by the instructions that the machine has, where libxxhash was built to choose (x86-64).
find_library(CULL_XXHASH_LIBRARY xxhash)
mark_as_advanced(CULL_XXHASH_LIBRARY)
if(CULL_CHECKPOINT AND CULL_XXHASH_LIBRARY)
  include(CheckCXXSourceCompiles)
  set(CMAKE_REQUIRED_LIBRARIES ${CULL_XXHASH_LIBRARY})
  set(CMAKE_REQUIRED_INCLUDES ${CULL_XXHASH_INCLUDE_DIR})
  check_cxx_source_compiles("#include <xxh_x86dispatch.h>\nint main() { return XXH3_128bits_update(nullptr, nullptr, 0); }"
                            CULL_XXHASH_CHOOSES)
  unset(CMAKE_REQUIRED_LIBRARIES)
  unset(CMAKE_REQUIRED_INCLUDES)
endif()

function(cull_own target)
  if(CULL_XXHASH_CHOOSES)
    target_compile_definitions(${target} PRIVATE CULL_XXHASH_DISPATCH)
    target_link_libraries(${target} PRIVATE ${CULL_XXHASH_LIBRARY})
  endif()
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wconversion)
  # g++ 12 sees overlaps and overruns inside std::string and std::vector that are not there (GCC bug 105651 and its kin).
  target_compile_options(${target} PRIVATE
    "$<$<CXX_COMPILER_ID:GNU>:-Wno-restrict;-Wno-stringop-overflow;-Wno-stringop-overread;-Wno-array-bounds>")
  if(CULL_WARNINGS_AS_ERRORS)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
  if(CULL_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${CULL_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
    target_link_options(${target} PRIVATE -fsanitize=${CULL_SANITIZE})
    target_compile_definitions(${target} PRIVATE CULL_SANITIZED)
  endif()
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
endfunction()

# Most of a build's time is the same headers again and again.
function(cull_precompile target)
  if(CULL_PRECOMPILE)
    target_precompile_headers(${target} PRIVATE ${ARGN})
  endif()
endfunction()

# CUDA as a language of the folder that calls it: the toolkit's own compiler and CULL_CUDA_ARCHITECTURES, unless told otherwise.
macro(cull_own_cuda)
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES ${CULL_CUDA_ARCHITECTURES})
  endif()
  if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    set(CMAKE_CUDA_COMPILER ${CUDAToolkit_NVCC_EXECUTABLE})
  endif()
  enable_language(CUDA)
endmacro()
