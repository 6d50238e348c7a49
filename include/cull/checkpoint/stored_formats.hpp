// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include <cull/checkpoint/matrix_site.hpp>
#include <cull/checkpoint/stored.hpp>
#include <cull/checkpoint/stored_values.hpp>
#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/tensor/any_matrix.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// Unquantised weights: `stem.weight`, or the stem itself where experts are fused.
template <class Format, dtype Type>
struct stored_plain {
  static std::optional<matrix<Format>> read(matrix_site const& at) {
    auto const t = at.find_any({".weight", ""});
    if (!t || t->info->type != Type) return std::nullopt;
    auto const dims = at.shape(*t);
    if (dims.size() != 2) t->refuse("has " + std::to_string(t->info->shape.size()) + " dimensions, which is no matrix");
    constexpr auto size = static_cast<std::int64_t>(cull::bits(Type) / 8);
    if (!at.transposed()) {
      auto const rows = at.rows(*t);
      return matrix<Format>{{rows.data, rows.row_bytes / size * rows.step}, rows.rows, static_cast<std::int64_t>(dims[1])};
    }
    auto const& share = at.share();
    auto const all = static_cast<std::int64_t>(dims[1]);
    auto const own = all / share.of;
    auto const first = share.part * (share.interleaved ? 1 : own);
    return matrix<Format>{{at.expert_bytes(*t).data() + first * size, share.interleaved ? share.of : 1, all},
                          own,
                          static_cast<std::int64_t>(dims[0])};
  }
};

inline std::uint8_t const* as_codes(std::byte const* p) { return reinterpret_cast<std::uint8_t const*>(p); }

/// NVFP4: codes U8 [rows, cols / 2], scales F8_E4M3 [rows, cols / 16] and a scalar.
template <class Format>
matrix<Format> nvfp4_at(matrix_site const& at, tensor_data const& codes, tensor_data const& scales, float scalar) {
  auto const dims = at.shape(codes);
  auto const scale_dims = at.shape(scales);
  if (codes.info->type != dtype::u8 || dims.size() != 2) codes.refuse("NVFP4 codes must be U8 [rows, cols / 2]");
  if (scales.info->type != dtype::f8_e4m3 || scale_dims.size() != 2 || scale_dims[0] != dims[0] || dims[1] % 8 != 0 ||
      scale_dims[1] != dims[1] / 8) {
    scales.refuse("NVFP4 block scales must be F8_E4M3 [" + std::to_string(dims[0]) + ", " + std::to_string(dims[1] / 8) + "]");
  }
  auto const rows = at.rows(codes);
  auto const cols = static_cast<std::int64_t>(dims[1] * 2);
  return {{as_codes(rows.data), as_codes(at.rows(scales).data), scalar, cols, rows.step}, rows.rows, cols};
}

/// The scalar of a tensor, or of this expert where there is one for each.
inline float scale_at(matrix_site const& at, tensor_data const& t) {
  if (t.info->type != dtype::f32) t.refuse("must be F32");
  auto const values = t.info->elements() == 1 ? t.bytes : at.expert_bytes(t);
  if (values.size() != 4) t.refuse("must be one number" + std::string{at.is_fused() ? " for each expert" : ""});
  float out = 0;
  std::memcpy(&out, values.data(), 4);
  if (!(std::isfinite(out) && out >= 0)) t.refuse("must be finite and not negative");
  return out;
}

}  // namespace detail

template <>
struct stored<bf16_format> : detail::stored_plain<bf16_format, dtype::bf16> {};
template <>
struct stored<f16_format> : detail::stored_plain<f16_format, dtype::f16> {};
template <>
struct stored<f32_format> : detail::stored_plain<f32_format, dtype::f32> {};

/// modelopt: `weight` with `weight_scale` and the multiplier `weight_scale_2`.
template <>
struct stored<nvfp4_modelopt> {
  static std::optional<matrix<nvfp4_modelopt>> read(matrix_site const& at) {
    auto const codes = at.find_any({".weight", ""});
    auto const scales = at.find_any({".weight_scale", "_weight_scale"});
    auto const scalar = at.find_any({".weight_scale_2", "_weight_scale_2"});
    if (!codes || codes->info->type != dtype::u8 || !scales) return std::nullopt;
    if (at.transposed()) codes->refuse("transposed NVFP4 cannot be read; prune by bytes, or convert it");
    if (!scalar)
      throw error{errc::incomplete_expert, "is missing", {.file = at.folder(), .tensor = at.stem() + ".weight_scale_2"}};
    return detail::nvfp4_at<nvfp4_modelopt>(at, *codes, *scales, detail::scale_at(at, *scalar));
  }
};

/// compressed-tensors: `weight_packed` with `weight_scale` and the divisor `weight_global_scale`.
template <>
struct stored<nvfp4_compressed> {
  static std::optional<matrix<nvfp4_compressed>> read(matrix_site const& at) {
    auto const codes = at.find_any({".weight_packed", "_packed"});
    if (!codes) return std::nullopt;
    auto const scales = at.find_any({".weight_scale", "_scale"});
    auto const divisor = at.find_any({".weight_global_scale", "_global_scale"});
    if (!scales || !divisor) codes->refuse("needs weight_scale and weight_global_scale beside it; another packing is not read");
    float const scalar = detail::scale_at(at, *divisor);
    if (scalar == 0) divisor->refuse("must not be zero, it is a divisor");
    return detail::nvfp4_at<nvfp4_compressed>(at, *codes, *scales, scalar);
  }
};

/// GPT-OSS: `_blocks` U8 [experts, rows, cols / 32, 16] and `_scales` U8 [experts, rows, cols / 32]; rows even where plain
/// weights are transposed.
template <>
struct stored<mxfp4> {
  static std::optional<matrix<mxfp4>> read(matrix_site const& at) {
    auto const codes = at.find("_blocks");
    if (!codes) return std::nullopt;
    auto const scales = at.find("_scales");
    auto const dims = at.shape(*codes);
    if (codes->info->type != dtype::u8 || dims.size() != 3 || dims[2] != 16) codes->refuse("must be U8 [.., rows, blocks, 16]");
    if (!scales || scales->info->type != dtype::u8 || at.shape(*scales) != std::vector<std::uint64_t>{dims[0], dims[1]})
      codes->refuse("needs '_scales', U8 [.., rows, blocks], beside it");
    auto const rows = at.rows(*codes);
    auto const cols = static_cast<std::int64_t>(dims[1] * 32);
    return matrix<mxfp4>{
        {detail::as_codes(rows.data), detail::as_codes(at.rows(*scales).data), cols, rows.step}, rows.rows, cols};
  }
};

/// DeepSeek FP8: `weight` F8_E4M3 with `weight_scale_inv` F32 [ceil(rows / 128), ceil(cols / 128)].
template <>
struct stored<fp8_block<>> {
  static std::optional<matrix<fp8_block<>>> read(matrix_site const& at) {
    auto const codes = at.find_any({".weight", ""});
    auto const scales = at.find_any({".weight_scale_inv", "_scale_inv"});
    if (!codes || codes->info->type != dtype::f8_e4m3 || !scales) return std::nullopt;
    auto const dims = at.shape(*codes);
    if (dims.size() != 2 || at.transposed()) codes->refuse("FP8 weights must be [rows, cols]");
    std::vector<std::uint64_t> const wanted{(dims[0] + 127) / 128, (dims[1] + 127) / 128};
    if (scales->info->type != dtype::f32 || at.shape(*scales) != wanted)
      scales->refuse("must be F32 [" + std::to_string(wanted[0]) + ", " + std::to_string(wanted[1]) + "]");
    auto const rows = at.rows(*codes);
    auto const cols = static_cast<std::int64_t>(dims[1]);
    auto const first = at.share().part * (rows.step > 1 ? 1 : rows.rows);
    return matrix<fp8_block<>>{{detail::as_codes(at.expert_bytes(*codes).data()), at.expert_bytes(*scales).data(), cols,
                                static_cast<std::int64_t>(wanted[1]), 1, 1, first, rows.step},
                               rows.rows,
                               cols};
  }
};

/// FP8 with one scale: `weight` F8_E4M3 with `weight_scale` F32.
template <>
struct stored<fp8_tensor> {
  static std::optional<matrix<fp8_tensor>> read(matrix_site const& at) {
    auto const codes = at.find_any({".weight", ""});
    auto const scale = at.find_any({".weight_scale", "_weight_scale"});
    if (!codes || codes->info->type != dtype::f8_e4m3 || !scale) return std::nullopt;
    auto const dims = at.shape(*codes);
    if (dims.size() != 2 || at.transposed()) codes->refuse("FP8 weights must be [rows, cols]");
    auto const rows = at.rows(*codes);
    auto const cols = static_cast<std::int64_t>(dims[1]);
    return matrix<fp8_tensor>{{detail::as_codes(rows.data), cols * rows.step, detail::scale_at(at, *scale)}, rows.rows, cols};
  }
};

CULL_NAMESPACE_END
