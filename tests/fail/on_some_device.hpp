// SPDX-License-Identifier: Apache-2.0
// An executor on device memory without a device: enough to compile calls.
#pragma once

#include <cull/cuda/context.hpp>

struct on_some_device {
  using memory_space = cull::device_memory;

  template <class Body, class... Arguments>
  void launch(cull::simt::grid_size, Body const&, Arguments...) const {}
  void* allocate(std::size_t) const { return nullptr; }
  void release(void*, std::size_t) const {}
  void fill_zero(void*, std::size_t) const {}
  void copy_in(void*, void const*, std::size_t) const {}
  void copy_out(void*, void const*, std::size_t) const {}
  void synchronize() const {}
};
