// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>
#include <string>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/router/stage.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

inline void check_bias(std::string const& stage, array_view<float const> bias, std::int64_t experts) {
  if (bias.size() != experts) {
    throw error{errc::shape_mismatch,
                stage + ": " + std::to_string(bias.size()) + " bias values for " + std::to_string(experts) + " experts"};
  }
  for (std::int64_t e = 0; e < experts; ++e) {
    if (!std::isfinite(bias[e])) {
      throw error{errc::not_finite, stage + ": the bias of expert " + std::to_string(e) + " is not finite"};
    }
  }
}

}  // namespace detail

/// The router's own bias: added to the logits in f32, before anything else sees them (GPT-OSS). `bias` has one value per expert.
/// First in a chain, before or after `keep_only`. Throws what `prefer` throws.
struct add_logit_bias {
  static constexpr row_part reads = row_part::logits;
  static constexpr row_part writes = row_part::logits;
  static constexpr row_part before = row_part::scores | row_part::chosen;

  array_view<float const> bias;

  explicit add_logit_bias(array_view<float const> values) : bias(values) {}

  CULL_HD void operator()(row_ref row) const {
    for (std::int64_t e = 0; e < row.experts(); ++e) row.scores[e] += bias[e];
  }
  void check(std::int64_t experts) const { detail::check_bias("add_logit_bias", bias, experts); }
};

CULL_NAMESPACE_END
