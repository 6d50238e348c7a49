// SPDX-License-Identifier: Apache-2.0
#include <engine/attention.hpp>

#include <algorithm>
#include <string>

#include <cull/numeric/exp.hpp>

#include <engine/grouped_attention.hpp>
#include <engine/latent_attention.hpp>

namespace engine {

std::unique_ptr<attention> load_attention(cull::checkpoint const& model, model_config const& config, int number,
                                          dense const& products) {
  auto const prefix = "model.layers." + std::to_string(number) + ".self_attn.";
  if (config.kind->attention == attention_kind::latent) {
    return std::make_unique<latent_attention>(model, config, prefix, config.latent.indexer_in(number), products);
  }
  return std::make_unique<grouped_attention>(model, config, prefix, config.grouped.window_in(number), products);
}

std::vector<std::vector<float>> turns_of(rope const& rotary, std::span<token_place const> places) {
  std::vector<std::vector<float>> out;
  for (auto const& place : places) out.push_back(rotary.turn(place.position));
  return out;
}

double exponentials(std::vector<float>& scores, float const* sink) {
  float top = *std::max_element(scores.begin(), scores.end());
  if (sink != nullptr) top = std::max(top, *sink);
  double sum = sink == nullptr ? 0 : static_cast<double>(cull::exp_f32(*sink - top));
  for (float& score : scores) {
    score = cull::exp_f32(score - top);
    sum += static_cast<double>(score);
  }
  return sum;
}

}  // namespace engine
