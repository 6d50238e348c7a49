// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <utility>

#include <cull/config.hpp>
#include <cull/cuda/context.hpp>

CULL_NAMESPACE_BEGIN

namespace simt {

/// Device memory for `size` values that lives as long as a call: given back in the order of the stream, after its users.
template <class T, device_executor Exec>
class scratch_array {
 public:
  scratch_array(Exec const& exec, std::size_t size)
      : exec_(&exec), size_(size), data_(static_cast<T*>(exec.allocate(size * sizeof(T)))) {}
  scratch_array(scratch_array const&) = delete;
  scratch_array& operator=(scratch_array const&) = delete;
  ~scratch_array() { exec_->release(data_, size_ * sizeof(T)); }

  T* data() const { return data_; }
  std::size_t size() const { return size_; }
  void clear() const { exec_->fill_zero(data_, size_ * sizeof(T)); }

 private:
  Exec const* exec_;
  std::size_t size_;
  T* data_;
};

}  // namespace simt

CULL_NAMESPACE_END
