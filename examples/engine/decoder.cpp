// SPDX-License-Identifier: Apache-2.0
#include <engine/decoder.hpp>

#include <algorithm>

#include <cull/error.hpp>

#include <engine/layer_pass.hpp>

namespace engine {
namespace {

model_config configured(cull::checkpoint const& model, decoder_options const& options) {
  auto config = read_model_config(model);
  if (options.batch_tokens < 0) throw cull::error{cull::errc::out_of_range, "batch_tokens must not be negative (0: all)"};
  if (options.index_topk) replace_index_topk(config, *options.index_topk);
  return config;
}

using logits_hook = std::function<void(std::int64_t, matrix_view<float const>)>;

void show_logits(head const& output, token_table const& tokens, buffer const& normed, logits_hook const& hook) {
  for (std::int64_t s = 0; s < tokens.sequences(); ++s) {
    auto const first = tokens.starts[static_cast<std::size_t>(s)];
    auto const count = tokens.starts[static_cast<std::size_t>(s + 1)] - first;
    hook(s, output.logits(normed.view().rows(first, count)).view());
  }
}

void show_rows(token_table const& tokens, buffer const& normed, logits_hook const& hook) {
  for (std::int64_t s = 0; s < tokens.sequences(); ++s) {
    auto const first = tokens.starts[static_cast<std::size_t>(s)];
    hook(s, normed.view().rows(first, tokens.starts[static_cast<std::size_t>(s + 1)] - first));
  }
}

/// Rows of `from` that have a successor in their sequence, in the order of `to`.
buffer with_successor(buffer const& from, token_table const& all, token_table const& to) {
  buffer out{to.rows(), from.cols()};
  for (std::int64_t t = 0; t < to.rows(); ++t) {
    auto const at = static_cast<std::size_t>(t);
    auto const row = all.starts[static_cast<std::size_t>(to.sequence[at])] + to.positions[at];
    std::copy(from.row(row), from.row(row) + from.cols(), out.row(t));
  }
  return out;
}

bool wants_mtp(layer_hooks const& hooks) {
  return hooks.observer != nullptr || hooks.on_mtp_logits || hooks.on_routing || hooks.on_indexer || hooks.on_hidden;
}

}  // namespace

decoder::decoder(cull::checkpoint const& model, cull::on_cpu exec, decoder_options options)
    : model_(model),
      options_(options),
      config_(configured(model, options)),
      products_(exec, options.precision),
      embedding_(model, config_),
      head_(model, config_, products_) {}

run_counters decoder::run(std::span<sequence const> sequences, layer_hooks const& hooks) {
  for (auto const& each : sequences) check_ids(each.id, each.ids, config_.vocabulary);
  auto const domains = hooks.observer != nullptr ? hooks.observer->domains() : std::vector<std::string>{};
  auto const tokens = tabulate(sequences, domains);
  run_counters counters{.tokens = tokens.rows()};
  buffer hidden = embedding_(tokens.ids);
  counters.state_bytes = std::int64_t{4} * tokens.rows() * config_.hidden;
  layer_pass pass{config_, tokens, options_.batch_tokens, hooks};
  for (int number = 0; number < config_.layers; ++number) {
    counters.batches += pass(layer{model_, config_, number, products_}, hidden);
  }
  buffer const normed = head_.norm()(hidden.view());
  if (hooks.on_normed) show_rows(tokens, normed, hooks.on_normed);
  if (hooks.on_logits) show_logits(head_, tokens, normed, hooks.on_logits);
  if (!config_.has_mtp || !wants_mtp(hooks)) return counters;

  counters.state_bytes *= 3;  // the normed states and MTP's inputs beside them
  auto const drafting = tabulate(sequences, domains, 1);
  mtp_layer const mtp{model_, config_, products_};
  hidden = mtp.input(embedding_, drafting.next_ids, drafting.positions, with_successor(normed, tokens, drafting).view());
  counters.batches += layer_pass{config_, drafting, options_.batch_tokens, hooks}(mtp.layer(), hidden);
  if (hooks.on_mtp_logits) show_logits(head_, drafting, mtp.head_norm()(hidden.view()), hooks.on_mtp_logits);
  return counters;
}

}  // namespace engine
