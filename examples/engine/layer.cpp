// SPDX-License-Identifier: Apache-2.0
#include <engine/layer.hpp>

namespace engine {
namespace {

std::string prefix(int number) { return "model.layers." + std::to_string(number) + "."; }

rms_norm load_norm(cull::checkpoint const& model, model_config const& config, std::string const& name) {
  return {load_vector(model, name + ".weight", config.hidden), config.epsilon};
}

void add(matrix_view<float> to, buffer const& from) {
  for (std::int64_t t = 0; t < to.rows(); ++t) {
    for (std::int64_t i = 0; i < to.cols(); ++i) to(t, i) += from.row(t)[i];
  }
}

}  // namespace

layer::layer(cull::checkpoint const& model, model_config const& config, int number, dense const& products)
    : number_(number),
      full_(config.latent.indexer_in(number)),
      input_norm_(load_norm(model, config, prefix(number) + "input_layernorm")),
      post_attention_norm_(load_norm(model, config, prefix(number) + "post_attention_layernorm")),
      attention_(load_attention(model, config, number, products)),
      feed_forward_(load_feed_forward(model, config, number, products)) {}

void layer::operator()(matrix_view<float> hidden, std::span<token_place const> places, moe_watch const& watch) const {
  auto const normed = input_norm_(hidden);
  add(hidden, timed(watch.times, stage::attention, [&] { return (*attention_)(normed.view(), places); }));
  auto seen = watch;
  seen.residual = hidden;
  add(hidden, (*feed_forward_)(post_attention_norm_(hidden).view(), seen));
}

}  // namespace engine
