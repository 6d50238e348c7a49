// SPDX-License-Identifier: Apache-2.0
// The executor of the tests: the library's device operations, on the host, on memory whose type says `device_memory`.
#pragma once

#include <cstddef>
#include <cstring>

#include <cull/cuda/context.hpp>

#include "launch.hpp"

namespace simt_test {

struct on_simt {
  using memory_space = cull::device_memory;

  launch_options options = {};

  template <cull::simt::kernel_body Body, class... Arguments>
  void launch(cull::simt::grid_size grid, Body const& body, Arguments... arguments) const {
    simt_test::launch(options, grid, body, arguments...);
  }
  void* allocate(std::size_t bytes) const { return bytes == 0 ? nullptr : allocations::all().add(bytes); }
  void release(void* memory, std::size_t) const {
    if (memory != nullptr) allocations::all().remove(memory);
  }
  void fill_zero(void* to, std::size_t bytes) const {
    if (bytes != 0) std::memset(to, 0, bytes);
  }
  void copy_in(void* to, void const* from, std::size_t bytes) const { copy(to, from, bytes); }
  void copy_out(void* to, void const* from, std::size_t bytes) const { copy(to, from, bytes); }
  void synchronize() const {}

 private:
  static void copy(void* to, void const* from, std::size_t bytes) {
    if (bytes != 0) std::memcpy(to, from, bytes);
  }
};

static_assert(cull::simt::device_executor<on_simt>);

}  // namespace simt_test
