// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/expert/precision.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// Planes of bf16 that activations are split into for the tensor cores: f32 exactly, or rounded to bf16.
template <class Precision>
inline constexpr int bf16_parts = 0;
template <>
inline constexpr int bf16_parts<f32_precision> = 3;
template <>
inline constexpr int bf16_parts<bf16_precision> = 1;

/// The precision of a policy, and the tokens that its kernels take at a time: `latency` reads each weight once for up to 8.
template <class Policy>
struct policy_of {
  using precision = typename precision_of<Policy>::type;
  static constexpr int tokens = std::is_same_v<Policy, precision> ? 64 : 8;
};

inline unsigned block_count(std::int64_t count, std::int64_t each) {
  auto const blocks = (count + each - 1) / each;
  if (blocks > 0x7fffffff)
    throw error{errc::out_of_range, "CUDA: " + std::to_string(blocks) + " blocks in a launch; split the batch"};
  return static_cast<unsigned>(blocks);
}

inline void check_rows(std::string const& operation, char const* what, void const* data, std::int64_t stride) {
  if (reinterpret_cast<std::uintptr_t>(data) % 16 == 0 && stride % 4 == 0) return;
  throw error{errc::shape_mismatch, operation + ": rows of " + what + " must be aligned to 16 bytes"};
}

}  // namespace detail

CULL_NAMESPACE_END
