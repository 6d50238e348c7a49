// SPDX-License-Identifier: Apache-2.0
// Between GGUF's 4-bit blocks and the layouts of safetensors checkpoints: bytes move, no value is computed.
#pragma once

#include <cstdint>
#include <string>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/tensor/gguf.hpp>
#include <cull/tensor/view.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// Nibble i of `bytes` bytes becomes nibble `place(i)`; nibbles count low first.
template <class Place>
void move_nibbles(std::uint8_t const* from, std::int64_t bytes, std::uint8_t* to, Place place) {
  for (std::int64_t i = 0; i < bytes; ++i) to[i] = 0;
  for (std::int64_t i = 0; i < 2 * bytes; ++i) {
    auto const nibble = static_cast<unsigned>(from[i / 2] >> (4 * (i % 2))) & 15u;
    auto& target = to[place(i) / 2];
    target = static_cast<std::uint8_t>(target | (nibble << (4 * (place(i) % 2))));
  }
}

/// Codes in pairs (byte b: elements 2b, 2b + 1) to codes in halves (byte b: elements b, b + bytes), and back.
inline void pairs_to_halves(std::uint8_t const* from, std::int64_t bytes, std::uint8_t* to) {
  move_nibbles(from, bytes, to, [=](std::int64_t i) { return i < bytes ? 2 * i : 2 * (i - bytes) + 1; });
}
inline void halves_to_pairs(std::uint8_t const* from, std::int64_t bytes, std::uint8_t* to) {
  move_nibbles(from, bytes, to, [=](std::int64_t i) { return i % 2 == 0 ? i / 2 : i / 2 + bytes; });
}

inline void check_gguf_sizes(std::int64_t rows, std::int64_t cols, std::int64_t codes, std::int64_t scales, std::int64_t blocks,
                             std::int64_t group, std::int64_t block_cols, std::int64_t block_bytes) {
  if (rows >= 0 && cols >= 0 && cols % block_cols == 0 && codes == rows * cols / 2 && scales == rows * cols / group &&
      blocks == rows * (cols / block_cols) * block_bytes) {
    return;
  }
  throw error{errc::shape_mismatch, "GGUF blocks: " + std::to_string(rows) + " x " + std::to_string(cols) + " with " +
                                        std::to_string(codes) + " bytes of codes, " + std::to_string(scales) + " scales and " +
                                        std::to_string(blocks) + " bytes of blocks; columns must be a multiple of " +
                                        std::to_string(block_cols) + ", codes columns / 2, scales columns / " +
                                        std::to_string(group) + " and blocks columns / " + std::to_string(block_cols) + " * " +
                                        std::to_string(block_bytes) + " a row"};
}

}  // namespace detail

/// NVFP4 `codes` [rows, cols / 2] and linear `scales` [rows, cols / 16] (either dialect) to GGUF `blocks` [rows, cols / 64, 36];
/// the tensor scale goes beside them as a multiplier. As llama.cpp's converter: the scales' sign bits are cleared (no quantiser
/// sets them), all other bits stay, so `from_gguf_nvfp4` gives the source's bytes. Throws `errc::shape_mismatch` (cols % 64,
/// sizes).
inline void to_gguf_nvfp4(array_view<std::uint8_t const> codes, array_view<std::uint8_t const> scales, std::int64_t rows,
                          std::int64_t cols, array_view<std::uint8_t> blocks) {
  detail::check_gguf_sizes(rows, cols, codes.size(), scales.size(), blocks.size(), 16, 64, gguf_nvfp4::block_bytes);
  for (std::int64_t b = 0; b < scales.size(); ++b) {
    std::uint8_t* const block = blocks.data() + b / 4 * gguf_nvfp4::block_bytes;
    block[b % 4] = scales[b] & 0x7fu;
    detail::pairs_to_halves(codes.data() + 8 * b, 8, block + 4 + 8 * (b % 4));
  }
}

/// The way back: GGUF `blocks` [rows, cols / 64, 36] to `codes` [rows, cols / 2] and linear `scales` [rows, cols / 16].
/// Scale bytes are copied; 0x7f is zero to ggml and NaN to everyone else. Throws `errc::shape_mismatch` (cols % 64, sizes).
inline void from_gguf_nvfp4(array_view<std::uint8_t const> blocks, std::int64_t rows, std::int64_t cols,
                            array_view<std::uint8_t> codes, array_view<std::uint8_t> scales) {
  detail::check_gguf_sizes(rows, cols, codes.size(), scales.size(), blocks.size(), 16, 64, gguf_nvfp4::block_bytes);
  for (std::int64_t b = 0; b < scales.size(); ++b) {
    std::uint8_t const* const block = blocks.data() + b / 4 * gguf_nvfp4::block_bytes;
    scales[b] = block[b % 4];
    detail::halves_to_pairs(block + 4 + 8 * (b % 4), 8, codes.data() + 8 * b);
  }
}

/// MXFP4 `codes` [rows, cols / 2] and `scales` [rows, cols / 32] to GGUF `blocks` [rows, cols / 32, 17]; every byte comes back by
/// `from_gguf_mxfp4`. Throws `errc::shape_mismatch` (cols % 32, sizes).
inline void to_gguf_mxfp4(array_view<std::uint8_t const> codes, array_view<std::uint8_t const> scales, std::int64_t rows,
                          std::int64_t cols, array_view<std::uint8_t> blocks) {
  detail::check_gguf_sizes(rows, cols, codes.size(), scales.size(), blocks.size(), 32, 32, gguf_mxfp4::block_bytes);
  for (std::int64_t b = 0; b < scales.size(); ++b) {
    blocks[gguf_mxfp4::block_bytes * b] = scales[b];
    detail::pairs_to_halves(codes.data() + 16 * b, 16, blocks.data() + gguf_mxfp4::block_bytes * b + 1);
  }
}

/// The way back. Throws `errc::shape_mismatch` (cols % 32, sizes).
inline void from_gguf_mxfp4(array_view<std::uint8_t const> blocks, std::int64_t rows, std::int64_t cols,
                            array_view<std::uint8_t> codes, array_view<std::uint8_t> scales) {
  detail::check_gguf_sizes(rows, cols, codes.size(), scales.size(), blocks.size(), 32, 32, gguf_mxfp4::block_bytes);
  for (std::int64_t b = 0; b < scales.size(); ++b) {
    scales[b] = blocks[gguf_mxfp4::block_bytes * b];
    detail::halves_to_pairs(blocks.data() + gguf_mxfp4::block_bytes * b + 1, 16, codes.data() + 16 * b);
  }
}

CULL_NAMESPACE_END
