// SPDX-License-Identifier: Apache-2.0
#include <engine/vocabulary.hpp>

namespace engine {
namespace {

constexpr char embedding_name[] = "model.embed_tokens.weight";

std::string head_name(cull::checkpoint const& model) {
  // A stored head counts even in a model that calls itself tied, as in transformers.
  bool const tied = model.config().boolean("tie_word_embeddings", false) && model.find("lm_head.weight") == nullptr;
  return tied ? embedding_name : "lm_head.weight";
}

}  // namespace

embedding::embedding(cull::checkpoint const& model, model_config const& config)
    : table_(load_matrix(model, embedding_name, config.vocabulary, config.hidden)) {}

void embedding::row(int id, float* out) const {
  float const scale = decode_row(table_, id, out);
  for (std::int64_t i = 0; i < table_.cols(); ++i) out[i] *= scale;
}

buffer embedding::operator()(std::span<int const> ids) const {
  buffer out{static_cast<std::int64_t>(ids.size()), table_.cols()};
  for (std::int64_t t = 0; t < out.rows(); ++t) row(ids[static_cast<std::size_t>(t)], out.row(t));
  return out;
}

head::head(cull::checkpoint const& model, model_config const& config, dense const& products)
    : products_(products),
      norm_(load_vector(model, "model.norm.weight", config.hidden), config.epsilon),
      weight_(load_matrix(model, head_name(model), config.vocabulary, config.hidden)) {}

}  // namespace engine
