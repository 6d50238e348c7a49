// SPDX-License-Identifier: Apache-2.0
// One block of values to codes and a scale, in the arithmetic of the program whose bytes are wanted: all f32, true divisions.
#pragma once

#include <cstdint>

#include <cull/config.hpp>
#include <cull/numeric/e2m1.hpp>
#include <cull/numeric/e4m3.hpp>
#include <cull/numeric/e8m0.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

CULL_HD constexpr float block_amax(float const* x, int size) noexcept {
  float amax = 0.0f;
  for (int i = 0; i < size; ++i) {
    float const a = x[i] < 0.0f ? -x[i] : x[i];
    amax = a > amax ? a : amax;
  }
  return amax;
}

/// Packs `code(x[i])`, low nibble first.
template <class Code>
CULL_HD constexpr void pack_codes(float const* x, int size, std::uint8_t* codes, Code code) noexcept {
  for (int i = 0; i < size / 2; ++i) {
    auto const low = static_cast<unsigned>(code(x[2 * i]));
    codes[i] = static_cast<std::uint8_t>(low | static_cast<unsigned>(code(x[2 * i + 1])) << 4);
  }
}

}  // namespace detail

/// modelopt's block scale for the greatest magnitude of a block, before it becomes e4m3: amax / (6 * tensor scale), 0 -> 1,
/// clamped to [2^-9, 448].
CULL_HD inline float modelopt_block_scale(float amax, float tensor_scale) noexcept {
  float scale = tensor_scale > 0.0f ? amax / (6.0f * tensor_scale) : 1.0f;
  if (scale == 0.0f) scale = 1.0f;
  return scale < 0x1p-9f ? 0x1p-9f : (scale > e4m3::max ? e4m3::max : scale);
}

/// modelopt's code of a value, `divisor` being block scale * tensor scale; a tensor scale of zero (all-zero tensor) gives zero
/// codes.
CULL_HD inline e2m1 modelopt_code(float value, float divisor, float tensor_scale) noexcept {
  // modelopt takes the sign from "x < 0", so that -0 is coded as 0.
  return e2m1::encode((value == 0.0f || tensor_scale == 0.0f) ? 0.0f : value / divisor);
}

/// Quantises one block of 16 values as modelopt's dynamic NVFP4 does; `codes` gets 8 bytes. Returns the block scale.
/// code = e2m1(x / (scale * tensor scale)), true division.
CULL_HD inline e4m3 quantize_block_modelopt(float const* x, float tensor_scale, std::uint8_t* codes) noexcept {
  e4m3 const encoded = e4m3::encode(modelopt_block_scale(detail::block_amax(x, 16), tensor_scale));
  float const divisor = encoded.decode() * tensor_scale;
  detail::pack_codes(x, 16, codes, [=](float value) { return modelopt_code(value, divisor, tensor_scale).bits; });
  return encoded;
}

/// compressed-tensors' block scale for a sixth of the greatest magnitude of a block, before it becomes e4m3, at most 448: global
/// scale * sixth, and 0.125 where that would become zero.
CULL_HD inline float compressed_block_scale_of(float sixth, float global_scale) noexcept {
  float const scale = global_scale * sixth;
  return scale <= 0x1p-10f ? 0.125f : scale;  // half of e4m3's smallest, even as a tie
}
CULL_HD inline float compressed_block_scale(float amax, float global_scale) noexcept {
  return compressed_block_scale_of(amax / 6.0f, global_scale);
}

/// compressed-tensors' code of a value, `divisor` being block scale / global scale.
CULL_HD inline e2m1 compressed_code(float value, float divisor) noexcept {
  float const quotient = value / divisor;
  // The sign is a factor of -1, 0 or 1 there, so that -0 is coded as 0.
  return e2m1::encode(quotient == 0.0f ? 0.0f : quotient);
}

/// Quantises one block of 16 values as compressed-tensors' CPU path does with an f32 observer; `codes` gets 8 bytes. Returns the
/// block scale. code = e2m1(x / (scale / global scale)).
CULL_HD inline e4m3 quantize_block_compressed(float const* x, float global_scale, std::uint8_t* codes) noexcept {
  e4m3 const encoded = e4m3::encode(compressed_block_scale(detail::block_amax(x, 16), global_scale));
  float const divisor = encoded.decode() / global_scale;
  detail::pack_codes(x, 16, codes, [=](float value) { return compressed_code(value, divisor).bits; });
  return encoded;
}

/// Quantises one block of 32 values as modelopt's MXFP4 does; `codes` gets 16 bytes. Returns the scale, the smallest power of two
/// not below amax / 6. Codes are nearest with ties towards zero; an exact zero becomes code 8, negative zero, as modelopt's sign
/// formula gives it. One deviation: modelopt takes the exponent from an f32 logarithm, which for amax / 6 up to 22 ulp above a
/// power of two can round to that power and so saturate the codes; here it comes from the bits.
CULL_HD inline e8m0 quantize_block_mxfp4_modelopt(float const* x, std::uint8_t* codes) noexcept {
  e8m0 const scale = e8m0::encode_ceil(detail::block_amax(x, 32) / 6.0f);
  float const divisor = scale.decode();
  detail::pack_codes(x, 32, codes, [=](float value) {
    float const quotient = value / divisor;
    float const a = quotient < 0.0f ? -quotient : quotient;
    int const magnitude = (a > 0.25f) + (a > 0.75f) + (a > 1.25f) + (a > 1.75f) + (a > 2.5f) + (a > 3.5f) + (a > 5.0f);
    return quotient > 0.0f ? magnitude : magnitude + 8;
  });
  return scale;
}

CULL_NAMESPACE_END
