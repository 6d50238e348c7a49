// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cull/config.hpp>
#include <cull/numeric/exp.hpp>

CULL_NAMESPACE_BEGIN

/// Activation of a gated expert: silu(gate) * up (SwiGLU). A user's own is any object called the same way.
struct silu {
  CULL_HD constexpr float operator()(float gate, float up) const noexcept { return silu_f32(gate) * up; }
};

CULL_NAMESPACE_END
