// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <concepts>
#include <cstdint>
#include <string>
#include <vector>

#include <cull/config.hpp>
#include <cull/error.hpp>
#include <cull/router/stage.hpp>

CULL_NAMESPACE_BEGIN

namespace detail {

/// Of a bias in another memory than the host's only the size.
template <class Space>
void check_bias(std::string const& stage, array_view<float const, Space> bias, std::int64_t experts) {
  if (bias.size() != experts) {
    throw error{errc::shape_mismatch,
                stage + ": " + std::to_string(bias.size()) + " bias values for " + std::to_string(experts) + " experts"};
  }
  if constexpr (std::same_as<Space, host_memory>) {
    for (std::int64_t e = 0; e < experts; ++e) {
      if (!std::isfinite(bias[e])) {
        throw error{errc::not_finite, stage + ": the bias of expert " + std::to_string(e) + " is not finite"};
      }
    }
  }
}

}  // namespace detail

/// The router's own bias: added to the logits in f32, before anything else sees them (GPT-OSS). `bias` has one value per expert.
/// First in a chain, before or after `keep_only`. Throws what `prefer` throws.
template <class Space = host_memory>
struct add_logit_bias {
  using memory_space = Space;
  static constexpr row_part reads = row_part::logits;
  static constexpr row_part writes = row_part::logits;
  static constexpr row_part before = row_part::scores | row_part::chosen;

  array_view<float const, Space> bias;

  CULL_HD explicit add_logit_bias(array_view<float const, Space> values) : bias(values) {}

  CULL_HD void operator()(row_ref row) const {
    for (std::int64_t e = 0; e < row.experts(); ++e) row.scores[e] += bias[e];
  }
  void check(std::int64_t experts) const { detail::check_bias("add_logit_bias", bias, experts); }
};

template <class T, class Space>
add_logit_bias(array_view<T, Space>) -> add_logit_bias<Space>;
add_logit_bias(std::vector<float> const&)->add_logit_bias<host_memory>;

CULL_NAMESPACE_END
