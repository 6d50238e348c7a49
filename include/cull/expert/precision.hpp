// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cull/config.hpp>
#include <cull/numeric/bf16.hpp>

CULL_NAMESPACE_BEGIN

/// What happens to activations before a product. Weights are always decoded exactly.
struct f32_precision {
  CULL_HD static constexpr float activation(float value) noexcept { return value; }
};

/// Activations rounded to bf16, as the bf16 model itself does. Weights whose decoded values are not bf16 values keep them in f32.
struct bf16_precision {
  CULL_HD static constexpr float activation(float value) noexcept { return bf16::encode(value).decode(); }
};

CULL_NAMESPACE_END
