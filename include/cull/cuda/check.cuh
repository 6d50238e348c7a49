// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include <cuda_runtime_api.h>

#include <cull/config.hpp>
#include <cull/error.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// Throws `errc::device` with the runtime's own words.
inline void check_cuda(cudaError_t status, char const* what) {
  if (status == cudaSuccess) return;
  throw error{errc::device, std::string{"CUDA: "} + what + ": " + cudaGetErrorName(status) + ", " + cudaGetErrorString(status)};
}

}  // namespace detail

CULL_NAMESPACE_END
