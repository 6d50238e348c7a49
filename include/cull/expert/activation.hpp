// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <type_traits>
#include <utility>

#include <cull/config.hpp>
#include <cull/expert/gelu.hpp>
#include <cull/numeric/exp.hpp>

CULL_NAMESPACE_BEGIN

// Activations: `(gate, up)` in gated experts, `(x)` in ungated ones. A user's own is any object called the same way. In f32, and the
// same bits for every compiler and flag: nowhere a product meets a sum that could be contracted. NaN stays NaN.

namespace detail {

CULL_HD constexpr float at_most(float x, float limit) noexcept { return x > limit ? limit : x; }
CULL_HD constexpr float within(float x, float limit) noexcept { return x < -limit ? -limit : at_most(x, limit); }

/// (gate, up) from a function of one number: function(gate) * up.
template <class Function>
struct gated_by {
  CULL_HD constexpr float operator()(float x) const noexcept { return Function::of(x); }
  CULL_HD constexpr float operator()(float gated, float up) const noexcept { return Function::of(gated) * up; }
};

struct silu_function {
  CULL_HD static constexpr float of(float x) noexcept { return silu_f32(x); }
};
struct gelu_function {
  CULL_HD static float of(float x) noexcept { return gelu_f32(x); }
};
struct gelu_tanh_function {
  CULL_HD static float of(float x) noexcept { return gelu_tanh_f32(x); }
};
struct relu2_function {
  CULL_HD static constexpr float of(float x) noexcept { return x < 0.0f ? 0.0f : x * x; }
};

}  // namespace detail

/// silu(gate) * up (SwiGLU); ungated x / (1 + e^-x).
struct silu : detail::gated_by<detail::silu_function> {};
/// gelu(gate) * up with the exact gelu, x times the normal distribution function ("gelu").
struct gelu : detail::gated_by<detail::gelu_function> {};
/// The same with gelu's approximation by tanh ("gelu_pytorch_tanh", "gelu_new").
struct gelu_tanh : detail::gated_by<detail::gelu_tanh_function> {};
/// relu(x)^2, ungated (Nemotron-H); gated relu(gate)^2 * up.
struct relu2 : detail::gated_by<detail::relu2_function> {};

/// (up + 1) * (g * sigmoid(g * alpha)), g = min(gate, limit), up within +-limit (GPT-OSS); ungated the factor of g alone.
struct clamped_swiglu {
  float alpha = 1.702f;
  float limit = 7.0f;

  CULL_HD constexpr float operator()(float gated, float up) const noexcept {
    return (detail::within(up, limit) + 1.0f) * (*this)(gated);
  }
  CULL_HD constexpr float operator()(float x) const noexcept {
    float const g = detail::at_most(x, limit);
    return g * sigmoid_f32(g * alpha);
  }
};

/// min(silu(gate), limit) * up, up within +-limit (Step-3.5); ungated the first factor. A limit of 0 is none, as in its config.json.
struct limited_silu {
  float limit = 7.0f;

  CULL_HD constexpr float operator()(float gated, float up) const noexcept {
    return (*this)(gated) * (limit > 0.0f ? detail::within(up, limit) : up);
  }
  CULL_HD constexpr float operator()(float x) const noexcept {
    return limit > 0.0f ? detail::at_most(silu_f32(x), limit) : silu_f32(x);
  }
};

/// A model's activation as its config.json states it. Trivially copyable, so that it can be a kernel argument.
struct activation_settings {
  enum class kind : std::uint8_t { silu, gelu, gelu_tanh, relu2, clamped_swiglu, limited_silu };

  kind what = kind::silu;
  float alpha = 1.702f;  ///< of clamped_swiglu
  float limit = 7.0f;    ///< of clamped_swiglu and limited_silu
};

static_assert(std::is_trivially_copyable_v<activation_settings>);

/// Calls `f` with the function object that the settings mean, so that a loop in `f` has no branch on them.
CULL_EXEC_CHECK_OFF
template <class F>
CULL_HD constexpr decltype(auto) visit_activation(activation_settings const& settings, F&& f) {
  using kind = activation_settings::kind;
  switch (settings.what) {
    case kind::gelu: return std::forward<F>(f)(gelu{});
    case kind::gelu_tanh: return std::forward<F>(f)(gelu_tanh{});
    case kind::relu2: return std::forward<F>(f)(relu2{});
    case kind::clamped_swiglu: return std::forward<F>(f)(clamped_swiglu{settings.alpha, settings.limit});
    case kind::limited_silu: return std::forward<F>(f)(limited_silu{settings.limit});
    case kind::silu: break;
  }
  return std::forward<F>(f)(silu{});
}

/// An activation known when the model is: both calls, by its settings. `visit_activation` takes it apart.
struct model_activation {
  activation_settings settings;

  CULL_HD float operator()(float gated, float up) const {
    return visit_activation(settings, [&](auto const& known) { return known(gated, up); });
  }
  CULL_HD float operator()(float x) const {
    return visit_activation(settings, [&](auto const& known) { return known(x); });
  }
};

CULL_EXEC_CHECK_OFF
template <class F>
CULL_HD constexpr decltype(auto) visit_activation(model_activation const& activation, F&& f) {
  return visit_activation(activation.settings, std::forward<F>(f));
}
/// Any other function object is what it is.
CULL_EXEC_CHECK_OFF
template <class Activation, class F>
CULL_HD constexpr decltype(auto) visit_activation(Activation const& activation, F&& f) {
  return std::forward<F>(f)(activation);
}

CULL_NAMESPACE_END
