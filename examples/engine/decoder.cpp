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

/// Rows of `from` for `count` tokens of `to`, which are those that have a successor.
buffer with_successor(buffer const& from, token_table const& all, token_table const& to, std::int64_t first, std::int64_t count) {
  buffer out{count, from.cols()};
  for (std::int64_t t = 0; t < count; ++t) {
    auto const at = static_cast<std::size_t>(first + t);
    auto const row = all.starts[static_cast<std::size_t>(to.sequence[at])] + to.positions[at];
    std::copy(from.row(row), from.row(row) + from.cols(), out.row(t));
  }
  return out;
}

/// `held`: hidden states. What was picked came while the heap rose.
void count_memory(run_counters& counters, std::int64_t held, layer_pass const& pass, heap_rise const& rise) {
  counters.state_bytes = std::max(counters.state_bytes, held + pass.state_bytes());
  counters.scratch_bytes = std::max(counters.scratch_bytes, rise.most() - pass.picked_bytes());
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

buffer decoder::run_layers(token_table const& tokens, layer_hooks const& hooks, run_counters& counters) const {
  buffer hidden = embedding_(tokens.ids);
  layer_pass pass{config_, tokens, options_.batch_tokens, hooks};
  heap_rise const rise{hooks.heap};
  for (int number = 0; number < config_.layers; ++number) {
    counters.batches += pass(layer{model_, config_, number, products_}, hidden);
  }
  for (std::int64_t t = 0; t < hidden.rows(); ++t) head_.norm().row(hidden.row(t), hidden.row(t));
  count_memory(counters, hidden.bytes(), pass, rise);
  return hidden;
}

void decoder::run_mtp(buffer const& normed, token_table const& all, token_table const& drafting, layer_hooks const& hooks,
                      run_counters& counters) const {
  buffer hidden{drafting.rows(), config_.hidden};
  layer_pass pass{config_, drafting, options_.batch_tokens, hooks};
  heap_rise const rise{hooks.heap};
  mtp_layer const mtp{model_, config_, products_};
  for (std::int64_t first = 0; first < hidden.rows(); first += pass.batch_tokens()) {
    auto const count = std::min(pass.batch_tokens(), hidden.rows() - first);
    auto const part = [&](auto const& column) {
      return std::span{column}.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
    };
    buffer const input = mtp.input(embedding_, part(drafting.next_ids), part(drafting.positions),
                                   with_successor(normed, all, drafting, first, count).view());
    std::copy(input.row(0), input.row(count), hidden.row(first));
  }
  counters.batches += pass(mtp.layer(), hidden);
  count_memory(counters, normed.bytes() + hidden.bytes(), pass, rise);
  if (hooks.on_mtp_logits) show_logits(head_, drafting, mtp.head_norm()(hidden.view()), hooks.on_mtp_logits);
}

run_counters decoder::run(std::span<sequence const> sequences, layer_hooks const& hooks) {
  for (auto const& each : sequences) check_ids(each.id, each.ids, config_.vocabulary);
  auto const domains = hooks.observer != nullptr ? hooks.observer->domains() : std::vector<std::string>{};
  auto const tokens = tabulate(sequences, domains);
  run_counters counters{.tokens = tokens.rows()};
  buffer const normed = run_layers(tokens, hooks, counters);
  if (hooks.on_normed) show_rows(tokens, normed, hooks.on_normed);
  if (hooks.on_logits) show_logits(head_, tokens, normed, hooks.on_logits);
  if (config_.has_mtp && wants_mtp(hooks)) run_mtp(normed, tokens, tabulate(sequences, domains, 1), hooks, counters);
  return counters;
}

}  // namespace engine
