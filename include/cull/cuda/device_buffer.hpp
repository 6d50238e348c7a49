// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include <cull/cuda/context.hpp>
#include <cull/tensor/view.hpp>

CULL_NAMESPACE_BEGIN

/// Device memory for `size` values, from the executor's allocator and given back to it, both in its order. Not initialised.
template <class T, simt::device_executor Exec>
class device_buffer {
 public:
  explicit device_buffer(Exec exec) : exec_(std::move(exec)) {}
  device_buffer(Exec exec, std::int64_t size) : exec_(std::move(exec)) { resize(size); }
  device_buffer(device_buffer&& other) noexcept
      : exec_(other.exec_), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  device_buffer& operator=(device_buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(exec_, other.exec_);
    return *this;
  }
  ~device_buffer() { exec_.release(data_, bytes()); }

  /// Contents are lost where the size changes.
  void resize(std::int64_t size) {
    if (size == size_) return;
    exec_.release(std::exchange(data_, nullptr), bytes());
    size_ = 0;
    data_ = static_cast<T*>(exec_.allocate(static_cast<std::size_t>(size) * sizeof(T)));
    size_ = size;
  }
  void fill_zero() { exec_.fill_zero(data_, bytes()); }

  T* data() const { return data_; }
  std::int64_t size() const { return size_; }
  std::size_t bytes() const { return static_cast<std::size_t>(size_) * sizeof(T); }
  array_view<T, device_memory> view() const { return {data_, size_}; }
  Exec const& executor() const { return exec_; }

 private:
  Exec exec_;
  T* data_ = nullptr;
  std::int64_t size_ = 0;
};

CULL_NAMESPACE_END
