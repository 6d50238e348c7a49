// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <optional>
#include <string>

#include <cull/checkpoint/checkpoint.hpp>
#include <cull/checkpoint/conversion.hpp>
#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// Scalars that a conversion to NVFP4 takes over: of this model, in the other dialect inverted, or as they were before an earlier
/// conversion.
class kept_scales {
 public:
  kept_scales(checkpoint const& model, conversion const& wanted) : model_(model), wanted_(wanted) {}

  /// The scalar of that name in the model that this one was converted from, if that is known.
  std::optional<float> original(std::string const& name) const {
    return wanted_.original ? scalar(*wanted_.original, name) : std::nullopt;
  }

  /// The scale of a matrix's activations in the target's dialect, or nothing where the model has none.
  std::optional<float> activation(std::string const& stem) const {
    bool const to_modelopt = wanted_.to == expert_storage::modelopt_nvfp4;
    auto const own = stem + (to_modelopt ? ".input_scale" : ".input_global_scale");
    if (auto const value = scalar(model_, own)) return value;
    auto const other = scalar(model_, stem + (to_modelopt ? ".input_global_scale" : ".input_scale"));
    if (!other) return std::nullopt;
    auto const before = original(own);
    return before && 1.0f / *before == *other ? *before : 1.0f / *other;
  }

 private:
  static std::optional<float> scalar(checkpoint const& from, std::string const& name) {
    auto const* const t = from.find(name);
    return t == nullptr || t->elements() != 1 ? std::optional<float>{} : std::optional{from.values(name).front()};
  }

  checkpoint const& model_;
  conversion const& wanted_;
};

}  // namespace detail

CULL_NAMESPACE_END
