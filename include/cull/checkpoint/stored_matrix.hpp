// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include <cull/checkpoint/tensor_info.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/numeric/bf16.hpp>
#include <cull/tensor/any_matrix.hpp>

CULL_NAMESPACE_BEGIN

static_assert(std::endian::native == std::endian::little, "cull: checkpoints are little endian and used where they lie");

namespace detail {

/// A tensor with the bytes it has.
struct tensor_data {
  tensor_info const* info = nullptr;
  std::span<std::byte const> bytes;
};

[[noreturn]] inline void refuse_tensor(tensor_data const& t, std::string const& why) {
  throw error{errc::unsupported_format, why, {.tensor = t.info->name}};
}

/// f32 values of an f32 or bf16 tensor.
inline std::vector<float> plain_values(tensor_data const& t) {
  std::vector<float> out(static_cast<std::size_t>(t.info->elements()));
  if (t.info->type == dtype::f32) {
    if (!out.empty()) std::memcpy(out.data(), t.bytes.data(), t.bytes.size());
  } else if (t.info->type == dtype::bf16) {
    for (std::size_t i = 0; i < out.size(); ++i) {
      bf16 value;
      std::memcpy(&value, t.bytes.data() + 2 * i, 2);
      out[i] = value.decode();
    }
  } else {
    refuse_tensor(t, "holds " + std::string{name(t.info->type)} + ", wanted are F32 or BF16 values");
  }
  return out;
}

inline float scalar_value(tensor_data const& t) {
  if (t.info->type != dtype::f32 || t.info->elements() != 1) refuse_tensor(t, "must be one F32 number");
  return plain_values(t)[0];
}

/// An unquantised matrix where it lies.
inline weight_matrix plain_matrix(tensor_data const& t) {
  if (t.info->shape.size() != 2) refuse_tensor(t, "has " + std::to_string(t.info->shape.size()) + " dimensions, a matrix has 2");
  auto const rows = static_cast<std::int64_t>(t.info->shape[0]);
  auto const cols = static_cast<std::int64_t>(t.info->shape[1]);
  plain_parts const parts{t.bytes.data(), cols};
  if (t.info->type == dtype::bf16) return matrix<bf16_format>{parts, rows, cols};
  if (t.info->type == dtype::f32) return matrix<f32_format>{parts, rows, cols};
  refuse_tensor(t, "is stored as " + std::string{name(t.info->type)} + ", which is not a format this version reads");
}

/// modelopt NVFP4: codes U8 [rows, cols / 2], scales F8_E4M3 [rows, cols / 16], tensor scale F32.
inline weight_matrix nvfp4_matrix(tensor_data const& codes, tensor_data const& scales, tensor_data const& tensor_scale) {
  if (codes.info->type != dtype::u8 || codes.info->shape.size() != 2)
    refuse_tensor(codes, "NVFP4 codes must be U8 [rows, cols / 2]");
  auto const rows = codes.info->shape[0];
  auto const cols = codes.info->shape[1] * 2;
  if (scales.info->type != dtype::f8_e4m3 || scales.info->shape != std::vector<std::uint64_t>{rows, cols / 16} ||
      cols % 16 != 0) {
    refuse_tensor(scales, "NVFP4 block scales must be F8_E4M3 [" + std::to_string(rows) + ", " + std::to_string(cols / 16) + "]");
  }
  float const scale = scalar_value(tensor_scale);
  if (!(std::isfinite(scale) && scale >= 0)) refuse_tensor(tensor_scale, "must be finite and not negative");
  return matrix<nvfp4_modelopt>{
      {reinterpret_cast<std::uint8_t const*>(codes.bytes.data()), reinterpret_cast<std::uint8_t const*>(scales.bytes.data()),
       scale, static_cast<std::int64_t>(cols)},
      static_cast<std::int64_t>(rows),
      static_cast<std::int64_t>(cols)};
}

}  // namespace detail

CULL_NAMESPACE_END
