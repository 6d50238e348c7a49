// SPDX-License-Identifier: Apache-2.0
// Prints body, threads per block and bytes of shared memory of every kernel: what a cubin does not say.
#include <cstdio>
#include <cstdlib>
#include <memory>

#include <cxxabi.h>

#include "../kernels.cuh"

int main() {
  for (auto const& list : {cull_kernels::core_kernels(), cull_kernels::expert_kernels()}) {
    for (auto const& k : list) {
      int status = 0;
      std::unique_ptr<char, decltype(&std::free)> const name{abi::__cxa_demangle(k.body.c_str(), nullptr, nullptr, &status), &std::free};
      std::printf("%u %zu %s\n", k.threads, k.shared_bytes, name.get());
    }
  }
}
