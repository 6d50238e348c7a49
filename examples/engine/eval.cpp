// SPDX-License-Identifier: Apache-2.0
#include <engine/eval.hpp>

#include <algorithm>
#include <cmath>

#include <cull/numeric/exp.hpp>

namespace engine {
namespace {

double nats(cull::array_view<float const> logits, int target) {
  float const top = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float const logit : logits) sum += static_cast<double>(cull::exp_f32(logit - top));
  return std::log(sum) + (static_cast<double>(top) - static_cast<double>(logits[target]));
}

std::vector<int> argmaxes(matrix_view<float const> logits) {
  std::vector<int> out;
  for (std::int64_t t = 0; t < logits.rows(); ++t) out.push_back(argmax(logits.row(t)));
  return out;
}

/// What follows the first think_end; empty where there is none.
std::span<int const> behind_thought(std::span<int const> new_ids, int think_end) {
  auto const found = std::find(new_ids.begin(), new_ids.end(), think_end);
  return found == new_ids.end() ? std::span<int const>{} : new_ids.subspan(static_cast<std::size_t>(found - new_ids.begin()) + 1);
}

/// Gathers what the hooks of one run say.
class judge {
 public:
  judge(std::span<sequence const> sequences, eval_options const& options)
      : sequences_(sequences), options_(options), own_(sequences.size()), drafts_(sequences.size()) {
    if (options.reference != nullptr) meter_.emplace(*options.reference, sequences, options.think_end);
  }

  layer_hooks hooks() {
    return {.on_logits = [this](std::int64_t s, matrix_view<float const> logits) { own(s, logits); },
            .on_mtp_logits = [this](std::int64_t s, matrix_view<float const> logits) { draft(s, logits); },
            .progress = options_.progress};
  }

  void report(evaluation& out) const {
    for (auto const& [domain, parts] : nats_) {
      auto const count = out.predicted[domain] = tokens_in(parts);
      if (count > 0) out.nats[domain] = ratio(parts);
    }
    if (tokens_in(drafts_) > 0) out.mtp_agreement = ratio(drafts_);
    if (meter_) out.divergence = meter_->result();
  }

 private:
  static std::int64_t tokens_in(std::span<ratio_part const> parts) {
    double out = 0;
    for (auto const& part : parts) out += part.denominator;
    return static_cast<std::int64_t>(out);
  }

  void own(std::int64_t s, matrix_view<float const> logits) {
    auto const& of = sequences_[static_cast<std::size_t>(s)];
    auto& part = nats_[of.domain].emplace_back();
    for (std::int64_t t = 0; t + 1 < logits.rows(); ++t) {
      part.numerator += nats(logits.row(t), of.ids[static_cast<std::size_t>(t + 1)]);
      part.denominator += 1;
    }
    if (meter_) meter_->add(s, logits);
    own_[static_cast<std::size_t>(s)] = argmaxes(logits);
    if (options_.on_logits) options_.on_logits(s, logits);
  }

  void draft(std::int64_t s, matrix_view<float const> logits) {
    auto const& own = own_[static_cast<std::size_t>(s)];
    auto const drafts = argmaxes(logits);
    auto& part = drafts_[static_cast<std::size_t>(s)];
    for (std::size_t t = 0; t + 2 < own.size(); ++t) {
      part.numerator += drafts[t] == own[t + 1] ? 1 : 0;
      part.denominator += 1;
    }
    if (options_.on_mtp_logits) options_.on_mtp_logits(s, logits);
  }

  std::span<sequence const> sequences_;
  eval_options const& options_;
  std::vector<std::vector<int>> own_;
  std::map<std::string, std::vector<ratio_part>> nats_;
  std::vector<ratio_part> drafts_;
  std::optional<divergence_meter> meter_;
};

void judge_prompts(cull::checkpoint const& model, cull::on_cpu exec, std::span<prompt const> prompts, eval_options const& options,
                   evaluation& out) {
  auto const traces = generate(model, exec, prompts, {.max_tokens = options.max_tokens, .stop = options.stop},
                               {.precision = options.precision, .index_topk = options.index_topk, .progress = options.progress});
  std::int64_t terminated = 0, correct = 0, looped = 0;
  std::vector<ratio_part> lengths, answers;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    auto const& written = traces[i].new_ids;
    bool const ended = is_terminated(written, options);
    terminated += ended ? 1 : 0;
    correct += is_correct(written, prompts[i].answer, options) ? 1 : 0;
    looped += is_looping(written, options.loop) ? 1 : 0;
    lengths.push_back({static_cast<double>(written.size()), 1});
    if (ended) answers.push_back({static_cast<double>(behind_thought(written, options.think_end).size()) - 1, 1});
  }
  auto const all = static_cast<std::int64_t>(prompts.size());
  out.terminated = share(terminated, all);
  out.answer_correct = share(correct, all);
  out.looped = share(looped, all);
  out.new_tokens = ratio(lengths);
  if (!answers.empty()) out.answer_tokens = ratio(answers);
  out.acceptance = acceptance_lengths(
      model, exec, traces, options.drafts,
      {.precision = options.precision, .batch_tokens = options.batch_tokens, .index_topk = options.index_topk});
}

}  // namespace

bool is_terminated(std::span<int const> new_ids, eval_options const& options) {
  auto const rest = behind_thought(new_ids, options.think_end);
  return !rest.empty() && new_ids.back() == options.end;
}

bool is_correct(std::span<int const> new_ids, std::span<int const> answer, eval_options const& options) {
  auto const rest = behind_thought(new_ids, options.think_end);
  return rest.size() == answer.size() + 1 && std::equal(answer.begin(), answer.end(), rest.begin()) && rest.back() == options.end;
}

bool is_looping(std::span<int const> new_ids, loop_definition const& of) {
  std::map<std::vector<int>, std::int64_t> seen;
  for (auto first = std::ptrdiff_t{0}; first + of.ids <= std::ssize(new_ids); ++first) {
    if (++seen[{new_ids.begin() + first, new_ids.begin() + first + of.ids}] >= of.times) return true;
  }
  return false;
}

evaluation evaluate(cull::checkpoint const& model, cull::on_cpu exec, std::span<sequence const> sequences,
                    std::span<prompt const> prompts, eval_options const& options) {
  evaluation out;
  decoder runner{
      model, exec, {.precision = options.precision, .batch_tokens = options.batch_tokens, .index_topk = options.index_topk}};
  judge verdict{sequences, options};
  runner.run(sequences, verdict.hooks());
  verdict.report(out);
  if (!prompts.empty()) judge_prompts(model, exec, prompts, options, out);
  return out;
}

}  // namespace engine
