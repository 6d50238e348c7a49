// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include <engine/decoder.hpp>
#include <engine/figure.hpp>

namespace engine {

/// What a model says about every token of some sequences, as its last hidden states: logits are made again where they are needed,
/// so that memory is tokens x hidden, whatever the vocabulary.
class reference_run {
 public:
  /// Runs the model. It must outlive this object.
  reference_run(cull::checkpoint const& model, cull::on_cpu exec, std::span<sequence const> sequences, decoder_options options);

  std::int64_t vocabulary() const { return config_.vocabulary; }
  /// `[tokens, vocabulary]` of one sequence.
  buffer logits(std::int64_t sequence) const { return head_.logits(states_.at(static_cast<std::size_t>(sequence)).view()); }

 private:
  model_config config_;
  dense products_;
  head head_;
  std::vector<buffer> states_;
};

/// How far a model's predictions are from the reference's, over one kind of tokens.
struct distance {
  figure kl;    ///< nats: sum over the vocabulary of p_reference * ln(p_reference / p), mean over tokens
  figure top1;  ///< share of tokens where both find the same next token likeliest
  std::int64_t tokens = 0;
};

struct divergence {
  distance all;
  std::map<std::string, distance> by_domain;
  std::map<std::int64_t, distance>
      by_position;  ///< key: first position of a range that ends before twice of it; 0 to 15, 16 to 31, ...
  std::map<std::string, distance> by_part;  ///< "before" and "after" </think>, of the sequences that have one
};

/// Gathers distances token by token: give it the logits of every sequence, then read.
class divergence_meter {
 public:
  /// `think_end`: the id of </think>.
  divergence_meter(reference_run const& reference, std::span<sequence const> sequences, int think_end)
      : reference_(reference), sequences_(sequences), think_end_(think_end) {}

  /// Predictions of positions 0 to T - 2. Throws cull::error `shape_mismatch` for another vocabulary.
  void add(std::int64_t sequence, matrix_view<float const> logits);
  divergence result() const;

 private:
  struct parts {
    std::vector<ratio_part> kl, top1;  // per sequence
  };
  void count(parts& to, std::size_t sequence, double kl, bool same) const;

  reference_run const& reference_;
  std::span<sequence const> sequences_;
  int think_end_;
  parts all_;
  std::map<std::string, parts> by_domain_, by_part_;
  std::map<std::int64_t, parts> by_position_;
};

/// Kullback-Leibler divergence of softmax(q) from softmax(p), in nats; f64.
double kl_divergence(cull::array_view<float const> p, cull::array_view<float const> q);

}  // namespace engine
