// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include <cull/config.hpp>
#include <cull/executor.hpp>

CULL_NAMESPACE_BEGIN

/// Non-owning row of `size` values in memory `Space`; trivially copyable, so that it can be a kernel argument.
template <class T, class Space = host_memory>
class array_view {
 public:
  using value_type = std::remove_cv_t<T>;
  using memory_space = Space;

  constexpr array_view() = default;
  CULL_HD constexpr array_view(T* data, std::int64_t size) : data_(data), size_(size) {}
  template <class U>
    requires std::is_convertible_v<U (*)[], T (*)[]>
  CULL_HD constexpr array_view(array_view<U, Space> other) : data_(other.data()), size_(other.size()) {}
  template <class U>
    requires(std::is_same_v<Space, host_memory> && std::is_convertible_v<U (*)[], T (*)[]>)
  array_view(std::vector<U>& values) : data_(values.data()), size_(static_cast<std::int64_t>(values.size())) {}
  template <class U>
    requires(std::is_same_v<Space, host_memory> && std::is_convertible_v<U const (*)[], T (*)[]>)
  array_view(std::vector<U> const& values) : data_(values.data()), size_(static_cast<std::int64_t>(values.size())) {}

  CULL_HD constexpr T* data() const { return data_; }
  CULL_HD constexpr std::int64_t size() const { return size_; }
  CULL_HD constexpr bool empty() const { return size_ == 0; }
  CULL_HD constexpr T& operator[](std::int64_t i) const { return data_[i]; }
  CULL_HD constexpr T* begin() const { return data_; }
  CULL_HD constexpr T* end() const { return data_ + size_; }

 private:
  T* data_ = nullptr;
  std::int64_t size_ = 0;
};

/// Non-owning `[rows, cols]` values, rows `stride` elements apart (row-major, columns adjacent).
template <class T, class Space = host_memory>
class matrix_view {
 public:
  using value_type = std::remove_cv_t<T>;
  using memory_space = Space;

  constexpr matrix_view() = default;
  CULL_HD constexpr matrix_view(T* data, std::int64_t rows, std::int64_t cols) : matrix_view(data, rows, cols, cols) {}
  CULL_HD constexpr matrix_view(T* data, std::int64_t rows, std::int64_t cols, std::int64_t stride)
      : data_(data), rows_(rows), cols_(cols), stride_(stride) {}
  template <class U>
    requires std::is_convertible_v<U (*)[], T (*)[]>
  CULL_HD constexpr matrix_view(matrix_view<U, Space> other)
      : data_(other.data()), rows_(other.rows()), cols_(other.cols()), stride_(other.stride()) {}

  CULL_HD constexpr T* data() const { return data_; }
  CULL_HD constexpr std::int64_t rows() const { return rows_; }
  CULL_HD constexpr std::int64_t cols() const { return cols_; }
  CULL_HD constexpr std::int64_t stride() const { return stride_; }
  CULL_HD constexpr T& operator()(std::int64_t row, std::int64_t col) const { return data_[row * stride_ + col]; }
  CULL_HD constexpr array_view<T, Space> row(std::int64_t i) const { return {data_ + i * stride_, cols_}; }
  /// Rows `[first, first + count)`.
  CULL_HD constexpr matrix_view rows(std::int64_t first, std::int64_t count) const {
    return {data_ + first * stride_, count, cols_, stride_};
  }

 private:
  T* data_ = nullptr;
  std::int64_t rows_ = 0;
  std::int64_t cols_ = 0;
  std::int64_t stride_ = 0;
};

static_assert(std::is_trivially_copyable_v<matrix_view<float, device_memory>>);

CULL_NAMESPACE_END
