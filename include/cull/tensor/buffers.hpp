// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include <cull/config.hpp>
#include <cull/tensor/matrix.hpp>
#include <cull/tensor/mxfp4.hpp>
#include <cull/tensor/nvfp4.hpp>

CULL_NAMESPACE_BEGIN

/// An NVFP4 matrix that owns its bytes, in modelopt's layout: codes [rows, cols/2], block scales [rows, cols/16], one tensor
/// scale.
struct nvfp4_buffer {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<std::uint8_t> codes;
  std::vector<std::uint8_t> scales;
  float tensor_scale = 0.0f;

  matrix<nvfp4_modelopt> view() const { return {{codes.data(), scales.data(), tensor_scale, cols}, rows, cols}; }
};

/// The same in compressed-tensors' dialect: `global_scale` is a divisor.
struct nvfp4_compressed_buffer {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<std::uint8_t> codes;
  std::vector<std::uint8_t> scales;
  float global_scale = 1.0f;

  matrix<nvfp4_compressed> view() const { return {{codes.data(), scales.data(), global_scale, cols}, rows, cols}; }
};

/// An MXFP4 matrix that owns its bytes: codes [rows, cols/2], scales [rows, cols/32].
struct mxfp4_buffer {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<std::uint8_t> codes;
  std::vector<std::uint8_t> scales;

  matrix<mxfp4> view() const { return {{codes.data(), scales.data(), cols}, rows, cols}; }
};

CULL_NAMESPACE_END
