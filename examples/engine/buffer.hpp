// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include <cull/tensor/view.hpp>

namespace engine {

using cull::matrix_view;

/// Owning `[rows, cols]` f32 values, zero at first.
class buffer {
 public:
  buffer() = default;
  buffer(std::int64_t rows, std::int64_t cols) : values_(static_cast<std::size_t>(rows * cols)), rows_(rows), cols_(cols) {}

  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }
  std::int64_t bytes() const { return static_cast<std::int64_t>(values_.size() * sizeof(float)); }
  float* row(std::int64_t i) { return values_.data() + i * cols_; }
  float const* row(std::int64_t i) const { return values_.data() + i * cols_; }
  matrix_view<float> view() { return {values_.data(), rows_, cols_}; }
  matrix_view<float const> view() const { return {values_.data(), rows_, cols_}; }

 private:
  std::vector<float> values_;
  std::int64_t rows_ = 0;
  std::int64_t cols_ = 0;
};

}  // namespace engine
