// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// What `convert` stores experts as.
enum class expert_storage {
  bf16,              ///< the format's own f32 value, rounded once
  f32,               ///< the format's own f32 value
  modelopt_nvfp4,    ///< as nvidia-modelopt quantises weights; gate and up share a tensor scale
  compressed_tensors_nvfp4,  ///< as compressed-tensors' nvfp4-pack-quantized does on a CPU, likewise
};

inline constexpr std::array<std::pair<expert_storage, std::string_view>, 4> expert_storage_names{{
    {expert_storage::bf16, "bf16"},
    {expert_storage::f32, "f32"},
    {expert_storage::modelopt_nvfp4, "nvfp4"},
    {expert_storage::compressed_tensors_nvfp4, "nvfp4-compressed-tensors"},
}};

inline std::string_view name(expert_storage of) {
  for (auto const& [storage, text] : expert_storage_names) {
    if (storage == of) return text;
  }
  return {};
}

inline bool is_nvfp4(expert_storage of) { return of == expert_storage::modelopt_nvfp4 || of == expert_storage::compressed_tensors_nvfp4; }

/// Which matrices of an expert have one tensor scale when they are quantised. Serving engines join gate and up and take gate's
/// scale for both; compressed-tensors alone, without the program that calibrates for it, gives each its own.
enum class scale_sharing { gate_and_up, none };

struct conversion {
  expert_storage to = expert_storage::bf16;
  scale_sharing sharing = scale_sharing::gate_and_up;
  /// Where the model was converted from the other NVFP4 dialect before: its tensor scales are given back instead of reciprocals
  /// of reciprocals, of which one in six has other bits.
  std::optional<checkpoint> original = {};
};

CULL_NAMESPACE_END
