// SPDX-License-Identifier: Apache-2.0
// The library's kernels by name: each is compiled once, for every architecture, by kernels_*.cu; budgets, disassembly and the
// test that every body has been executed go by this list.
#pragma once

#include <string>
#include <typeinfo>
#include <vector>

#include <cull/cuda/launch.cuh>

namespace cull_kernels {

struct entry {
  std::string body;      ///< mangled name of the body's type
  void const* function;  ///< for cudaFuncGetAttributes
  unsigned threads;
  std::size_t shared_bytes;
};

/// `Arguments`: those of the launch, decayed.
template <class Body, class... Arguments>
entry kernel_of() {
  using architectures = cull::detail::architectures<CULL_CUDA_ARCHITECTURES>;
  auto const function = &cull::detail::kernel<architectures, Body, Arguments...>;
  return {typeid(Body).name(), reinterpret_cast<void const*>(function), Body::threads, sizeof(typename Body::Shared)};
}

std::vector<entry> core_kernels();
std::vector<entry> expert_kernels();

}  // namespace cull_kernels
