// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <type_traits>

#include <cull/config.hpp>

CULL_NAMESPACE_BEGIN

/// What is chosen by, and what the weights are made of.
enum class scoring : std::uint8_t {
  softmax,            ///< softmax over all candidates
  sigmoid,            ///< each logit's sigmoid
  softmax_of_chosen,  ///< choice by logits; weights: softmax over the chosen (GPT-OSS)
  sigmoid_of_chosen,  ///< choice by logits; weights: sigmoid of the chosen, so saturation cannot change the choice (Llama 4)
};
enum class group_scoring : std::uint8_t { sum_of_two, maximum };
enum class renormalization : std::uint8_t { off, on };

/// A model's router as its config.json states it. Trivially copyable, so that it can be a kernel argument.
struct router_settings {
  cull::scoring scoring = scoring::softmax;
  int top_k = 1;
  int groups = 1;                                           ///< contiguous blocks of experts; 1: no groups
  int top_groups = 1;                                       ///< groups that stay eligible
  group_scoring group_score = group_scoring::sum_of_two;    ///< of the choice scores of a group
  renormalization renormalize = renormalization::off;       ///< divide the chosen weights by their sum + epsilon
  float epsilon = 1e-20f;
  float scaling = 1.0f;                                     ///< routed scaling factor
  float minimum = 0.0f;                                     ///< least denominator of `renormalize` (ERNIE 4.5); 0: none
  bool bias_in_weight = false;                              ///< weights are the choice scores, correction bias included
  bool gate_on_input = false;                               ///< experts see weight * x, and their output counts once (Llama 4)
  int zero_experts = 0;                                     ///< last router rows: experts f(x) = x without weights (LongCat-Flash)
};

static_assert(std::is_trivially_copyable_v<router_settings>);

CULL_NAMESPACE_END
