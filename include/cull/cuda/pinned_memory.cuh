// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>

#include <cuda_runtime_api.h>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// Host memory that others own, a mapped checkpoint's for one, pinned while this lives: copies from it overlap with kernels. Not
/// every system pins mapped files; where `pinned()` is false copies are right and the host waits for each. Memory that a user
/// allocates is better asked of `cudaMallocHost`.
class pinned_memory {
 public:
  pinned_memory(void const* begin, std::size_t bytes) : begin_(const_cast<void*>(begin)) {
    pinned_ = cudaHostRegister(begin_, bytes, cudaHostRegisterReadOnly) == cudaSuccess ||
              cudaHostRegister(begin_, bytes, cudaHostRegisterDefault) == cudaSuccess;
    cudaGetLastError();  // a refusal is an answer here, not the next call's failure
  }
  pinned_memory(pinned_memory const&) = delete;
  pinned_memory& operator=(pinned_memory const&) = delete;
  ~pinned_memory() {
    if (pinned_) cudaHostUnregister(begin_);
  }

  bool pinned() const { return pinned_; }

 private:
  void* begin_;
  bool pinned_;
};

CULL_NAMESPACE_END
