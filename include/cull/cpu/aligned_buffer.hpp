// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// Uninitialised memory on a cache line's boundary that only grows.
template <class T>
class aligned_buffer {
  static_assert(std::is_trivial_v<T>);

 public:
  static constexpr std::size_t alignment = 64;

  aligned_buffer() = default;
  explicit aligned_buffer(std::int64_t size) { reserve(size); }

  /// At least `size` elements; what they hold is lost where more are needed than before.
  T* reserve(std::int64_t size) {
    if (size > size_) {
      values_.reset();
      values_.reset(static_cast<T*>(::operator new (static_cast<std::size_t>(size) * sizeof(T), std::align_val_t{alignment})));
      size_ = size;
    }
    return values_.get();
  }
  T* data() const { return values_.get(); }

 private:
  struct release {
    void operator()(T* p) const { ::operator delete (p, std::align_val_t{alignment}); }
  };
  std::unique_ptr<T[], release> values_;
  std::int64_t size_ = 0;
};

}  // namespace detail

CULL_NAMESPACE_END
