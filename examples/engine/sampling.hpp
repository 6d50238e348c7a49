// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <vector>

#include <cull/tensor/view.hpp>

#include <engine/random.hpp>

namespace engine {

/// How the next token is drawn and when a trace ends.
struct sampling {
  double temperature = 0;  ///< 0: greedy
  double top_p = 1;        ///< smallest set of likeliest tokens whose probability reaches this
  std::uint64_t seed = 0;
  std::int64_t max_tokens = 140;  ///< new tokens per prompt
  std::vector<int> stop = {};     ///< ids that end a trace; empty: the model's eos_token_id
};

/// Throws errc::out_of_range for numbers that mean nothing.
void check(sampling const& settings);

/// Index of the largest value, ties to the lowest.
int argmax(cull::array_view<float const> logits);

/// Next token: argmax, or one draw from softmax(logits / temperature) cut at top_p. Takes one number from `random` unless greedy.
int sample(cull::array_view<float const> logits, sampling const& settings, random_stream& random);

}  // namespace engine
