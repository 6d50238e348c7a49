// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include <cull/cpu/aligned_buffer.hpp>
#include <cull/tensor/nvfp4.hpp>

namespace benchmarks {

/// Seeded NVFP4 matrices [rows, cols], as many as no cache holds; scales as trained weights have them, within a few octaves.
class nvfp4_matrices {
 public:
  nvfp4_matrices(std::int64_t count, std::int64_t rows, std::int64_t cols)
      : count_(count), rows_(rows), cols_(cols), codes_(count * rows * cols / 2), scales_(count * rows * cols / 16) {
    std::mt19937_64 random{1};
    auto* const words = reinterpret_cast<std::uint64_t*>(codes_.data());
    for (std::int64_t i = 0; i < count * rows * cols / 16; ++i) words[i] = random();
    for (std::int64_t i = 0; i < count * rows * cols / 16; ++i) scales_.data()[i] = static_cast<std::uint8_t>(0x30 + random() % 24);
  }

  std::int64_t count() const { return count_; }
  /// Bytes of one matrix.
  double bytes() const { return static_cast<double>(rows_ * cols_) * 0.5625; }
  cull::matrix<cull::nvfp4_modelopt> operator[](std::int64_t i) const {
    return {{codes_.data() + i * rows_ * cols_ / 2, scales_.data() + i * rows_ * cols_ / 16, 0.01f, cols_}, rows_, cols_};
  }

 private:
  std::int64_t count_, rows_, cols_;
  cull::detail::aligned_buffer<std::uint8_t> codes_, scales_;
};

inline std::vector<float> activations(std::int64_t tokens, std::int64_t hidden) {
  std::mt19937 random{2};
  std::normal_distribution<float> normal;
  std::vector<float> out(static_cast<std::size_t>(tokens * hidden));
  for (float& x : out) x = normal(random);
  return out;
}

}  // namespace benchmarks
