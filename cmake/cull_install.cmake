# SPDX-License-Identifier: Apache-2.0
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(cull_package_dir ${CMAKE_INSTALL_DATADIR}/cmake/cull)
set(cull_installed cull)
if(CULL_CHECKPOINT)
  list(APPEND cull_installed cull_checkpoint)
endif()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/cull DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.hpp" PATTERN "*.cuh")
install(TARGETS ${cull_installed} EXPORT cull-targets)
if(CULL_CUDA)
  # An export of its own: a consumer without a toolkit leaves it alone.
  install(TARGETS cull_cuda EXPORT cull-cuda-targets)
  install(EXPORT cull-cuda-targets NAMESPACE cull:: DESTINATION ${cull_package_dir})
  install(FILES ${CMAKE_CURRENT_LIST_DIR}/cull_cuda_architectures.cmake DESTINATION ${cull_package_dir})
endif()
install(EXPORT cull-targets NAMESPACE cull:: DESTINATION ${cull_package_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/cull-config.cmake.in ${PROJECT_BINARY_DIR}/cull-config.cmake
                              INSTALL_DESTINATION ${cull_package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/cull-config-version.cmake COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(FILES ${PROJECT_BINARY_DIR}/cull-config.cmake ${PROJECT_BINARY_DIR}/cull-config-version.cmake
        DESTINATION ${cull_package_dir})
