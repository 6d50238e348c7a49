# SPDX-License-Identifier: Apache-2.0
# Code for plain sm_100, sm_103, sm_120 or sm_121 lacks Blackwell's own e2m1 conversions and decodes by tables: right, and longer.
function(cull_warn_of_plain_blackwell architectures)
  foreach(architecture IN LISTS architectures)
    if(architecture MATCHES "^(100|103|120|121)(-real)?$")
      message(WARNING "cull: CUDA architecture ${architecture} has no native e2m1 conversion; ${CMAKE_MATCH_1}a has "
                      "(CMAKE_CUDA_ARCHITECTURES is \"${architectures}\")")
    endif()
  endforeach()
endfunction()
