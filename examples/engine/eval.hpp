// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <engine/decoder.hpp>
#include <engine/generate.hpp>

namespace engine {

struct eval_options {
  engine::precision precision = engine::precision::f32;
  std::int64_t batch_tokens = 1024;
  std::optional<std::int64_t> index_topk = {};
  int think_end = 262;                 ///< id behind which the answer begins
  int end = 263;                       ///< id that must follow the answer
  std::vector<int> stop = {263, 260};  ///< ids that end a prompt's continuation
  std::int64_t max_tokens = 140;       ///< new tokens per prompt, greedy
  std::function<void(std::string_view stage, std::int64_t done, std::int64_t total)> progress = {};
  /// As in layer_hooks, for those who want to keep what was judged.
  std::function<void(std::int64_t sequence, matrix_view<float const> logits)> on_logits = {};
  std::function<void(std::int64_t sequence, matrix_view<float const> logits)> on_mtp_logits = {};
};

struct evaluation {
  std::map<std::string, double> nats;             ///< per domain: -ln p of the next token, mean over all predicted tokens
  std::map<std::string, std::int64_t> predicted;  ///< their number
  std::optional<double> mtp_agreement;   ///< share of positions where the MTP layer's argmax is the model's own one token later
  std::optional<double> terminated;      ///< share of prompts with think_end, something behind it, and `end` last
  std::optional<double> answer_correct;  ///< share of prompts with exactly answer and `end` behind the first think_end
};

/// Quality on held-out sequences and, where there are any, prompts (all need an answer to count as correct).
evaluation evaluate(cull::checkpoint const& model, cull::on_cpu exec, std::span<sequence const> sequences,
                    std::span<prompt const> prompts = {}, eval_options const& options = {});

/// What follows the first think_end in `new_ids` is something, and the last id is `end`.
bool is_terminated(std::span<int const> new_ids, eval_options const& options);
/// What follows the first think_end in `new_ids` is exactly `answer` and then `end`.
bool is_correct(std::span<int const> new_ids, std::span<int const> answer, eval_options const& options);

}  // namespace engine
