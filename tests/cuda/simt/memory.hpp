// SPDX-License-Identifier: Apache-2.0
// Device memory of the tests: known by address, so that an access outside of it is found without a sanitizer too, and filled with
// a pattern, so that what a kernel reads before anybody has written shows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include <cull/tensor/view.hpp>

namespace simt_test {

/// Every live allocation of the process.
class allocations {
 public:
  static allocations& all() {
    static allocations known;
    return known;
  }

  void* add(std::size_t bytes) {
    // 256 as cudaMalloc gives; the sanitizer watches the end, so the size is not rounded up.
    void* memory = nullptr;
    if (posix_memalign(&memory, 256, bytes) != 0) throw std::bad_alloc{};
    std::memset(memory, 0xcb, bytes);
    std::scoped_lock const lock{mutex_};
    known_[reinterpret_cast<std::uintptr_t>(memory)] = bytes;
    return memory;
  }
  void remove(void* memory) {
    {
      std::scoped_lock const lock{mutex_};
      known_.erase(reinterpret_cast<std::uintptr_t>(memory));
    }
    std::free(memory);
  }
  std::size_t count() const {
    std::scoped_lock const lock{mutex_};
    return known_.size();
  }
  /// Begin and end of the allocation that holds `address`; equal where none does.
  std::pair<std::uintptr_t, std::uintptr_t> around(std::uintptr_t address) const {
    std::scoped_lock const lock{mutex_};
    auto next = known_.upper_bound(address);
    if (next == known_.begin()) return {};
    --next;
    if (address >= next->first + next->second) return {};
    return {next->first, next->first + next->second};
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::uintptr_t, std::size_t> known_;
};

/// Device memory for `size` values of T, filled from the host or with a pattern.
template <class T>
class device_array {
 public:
  explicit device_array(std::size_t size) : size_(size), data_(static_cast<T*>(allocations::all().add(size * sizeof(T)))) {}
  explicit device_array(std::vector<T> const& values) : device_array(values.size()) {
    if (size_ != 0) std::memcpy(static_cast<void*>(data_), values.data(), size_ * sizeof(T));
  }
  device_array(device_array&& other) noexcept
      : size_(std::exchange(other.size_, 0)), data_(std::exchange(other.data_, nullptr)) {}
  device_array(device_array const&) = delete;
  device_array& operator=(device_array const&) = delete;
  ~device_array() {
    if (data_ != nullptr) allocations::all().remove(data_);
  }

  T* data() const { return data_; }
  std::size_t size() const { return size_; }
  std::vector<T> host() const { return {data_, data_ + size_}; }
  cull::array_view<T, cull::device_memory> view() const { return {data_, static_cast<std::int64_t>(size_)}; }
  cull::matrix_view<T, cull::device_memory> view(std::int64_t rows, std::int64_t cols) const { return {data_, rows, cols}; }

 private:
  std::size_t size_;
  T* data_;
};

}  // namespace simt_test
