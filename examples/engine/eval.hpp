// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <engine/decoder.hpp>
#include <engine/divergence.hpp>
#include <engine/drafts.hpp>
#include <engine/figure.hpp>
#include <engine/generate.hpp>

namespace engine {

/// A trace loops where one run of `ids` ids occurs `times` times in what was written.
struct loop_definition {
  std::int64_t ids = 8;
  std::int64_t times = 4;
};

struct eval_options {
  engine::precision precision = engine::precision::f32;
  std::int64_t batch_tokens = 1024;
  std::optional<std::int64_t> index_topk = {};
  int think_end = 262;                 ///< id behind which the answer begins
  int end = 263;                       ///< id that must follow the answer
  std::vector<int> stop = {263, 260};  ///< ids that end a prompt's continuation
  std::int64_t max_tokens = 140;       ///< new tokens per prompt, greedy
  loop_definition loop = {};
  int drafts = 5;                            ///< of the MTP layer, at most, for acceptance lengths; 0: none
  reference_run const* reference = nullptr;  ///< a model to compare with, run over the same sequences
  std::function<void(std::string_view stage, std::int64_t done, std::int64_t total)> progress = {};
  /// As in layer_hooks, for those who want to keep what was judged.
  std::function<void(std::int64_t sequence, matrix_view<float const> logits)> on_logits = {};
  std::function<void(std::int64_t sequence, matrix_view<float const> logits)> on_mtp_logits = {};
};

/// Intervals: over held-out tokens and lengths by bootstrap over sequences, shares of prompts by Wilson's score; see `figure`.
struct evaluation {
  std::map<std::string, figure> nats;             ///< per domain: -ln p of the next token, mean over all predicted tokens
  std::map<std::string, std::int64_t> predicted;  ///< their number
  std::optional<figure> mtp_agreement;  ///< share of positions where the MTP layer's argmax is the model's own one token later
  std::optional<engine::divergence> divergence;  ///< from the reference
  std::optional<figure> terminated;              ///< share of prompts with think_end, something behind it, and `end` last
  std::optional<figure> answer_correct;          ///< share of prompts with exactly answer and `end` behind the first think_end
  std::optional<figure> looped;                  ///< share of prompts whose continuation loops
  std::optional<figure> new_tokens;              ///< per prompt
  std::optional<figure> answer_tokens;           ///< behind the first think_end, without `end`; of prompts that terminated
  std::vector<acceptance_length> acceptance;            ///< for 1 to `drafts` drafts
};

/// Quality on held-out sequences and, where there are any, prompts (all need an answer to count as correct).
evaluation evaluate(cull::checkpoint const& model, cull::on_cpu exec, std::span<sequence const> sequences,
                    std::span<prompt const> prompts = {}, eval_options const& options = {});

/// What follows the first think_end in `new_ids` is something, and the last id is `end`.
bool is_terminated(std::span<int const> new_ids, eval_options const& options);
/// What follows the first think_end in `new_ids` is exactly `answer` and then `end`.
bool is_correct(std::span<int const> new_ids, std::span<int const> answer, eval_options const& options);
/// Some run of `of.ids` ids occurs at least `of.times` times; occurrences may overlap.
bool is_looping(std::span<int const> new_ids, loop_definition const& of);

}  // namespace engine
