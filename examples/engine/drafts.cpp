// SPDX-License-Identifier: Apache-2.0
#include <engine/drafts.hpp>

#include <algorithm>

#include <cull/error.hpp>

#include <engine/sampling.hpp>

namespace engine {
namespace {

model_config with_mtp(cull::checkpoint const& model, decoder_options const& options) {
  auto config = read_model_config(model);
  if (options.index_topk) replace_index_topk(config, *options.index_topk);
  if (!config.has_mtp) throw cull::error{cull::errc::unsupported_model, "the model has no MTP layer to draft with"};
  return config;
}

std::vector<int> likeliest(head const& output, rms_norm const& norm, buffer const& hidden) {
  buffer const logits = output.logits(norm(hidden.view()).view());
  std::vector<int> out;
  for (std::int64_t t = 0; t < logits.rows(); ++t) out.push_back(argmax(logits.view().row(t)));
  return out;
}

}  // namespace

drafter::drafter(cull::checkpoint const& model, cull::on_cpu exec, decoder_options options)
    : config_(with_mtp(model, options)),
      products_(exec, options.precision),
      embedding_(model, config_),
      head_(model, config_, products_),
      mtp_(model, config_, products_) {}

draft_table drafter::draft(std::span<int const> ids, matrix_view<float const> normed, int drafts) const {
  auto const rows = static_cast<std::int64_t>(ids.size()) - 1;
  draft_table out;
  if (rows < 1) return {std::vector<std::vector<int>>(static_cast<std::size_t>(drafts))};
  std::vector<std::int64_t> positions;
  for (std::int64_t t = 0; t < rows; ++t) positions.push_back(t);
  layer_cache known{config_.cached_values(), config_.cached_index_values()};
  std::vector<picked_positions> picks(static_cast<std::size_t>(rows));
  std::vector<token_place> places;
  for (std::int64_t t = 0; t < rows; ++t) places.push_back({t, &known, &picks[static_cast<std::size_t>(t)]});
  std::vector<int> next{ids.begin() + 1, ids.end()};
  buffer hidden = mtp_.input(embedding_, next, positions, normed.rows(0, rows));
  mtp_.layer()(hidden.view(), places, {});
  // Every position goes on by itself from what the layer knew there.
  std::vector<layer_cache> branches;
  for (std::int64_t t = 0; t < rows && drafts > 1; ++t) branches.push_back(known.first(t + 1));
  for (int d = 0;; ++d) {
    out.ids.push_back(likeliest(head_, mtp_.head_norm(), hidden));
    if (d + 1 == drafts) return out;
    for (std::int64_t t = 0; t < rows; ++t) {
      auto const at = static_cast<std::size_t>(t);
      ++positions[at];
      places[at] = {positions[at], &branches[at], &picks[at]};
    }
    hidden = mtp_.input(embedding_, out.ids.back(), positions, hidden.view());
    mtp_.layer()(hidden.view(), places, {});
  }
}

ratio_part walk(std::span<int const> ids, std::size_t first_new, draft_table const& drafts, int most) {
  ratio_part out;
  // ids[n] is known and not yet run through the model; drafts are for n + 1 and on.
  for (std::size_t n = first_new; n + 1 < ids.size();) {
    std::size_t accepted = 0;
    while (accepted < static_cast<std::size_t>(most) && n + 1 + accepted < ids.size() &&
           drafts.ids[accepted][n - 1] == ids[n + 1 + accepted]) {
      ++accepted;
    }
    auto const taken = std::min(accepted + 1, ids.size() - 1 - n);
    out.numerator += static_cast<double>(taken);
    out.denominator += 1;
    n += taken;
  }
  return out;
}

std::vector<acceptance_length> acceptance_lengths(cull::checkpoint const& model, cull::on_cpu exec, std::span<trace const> traces,
                                           int most, decoder_options options) {
  if (most < 1 || traces.empty() || !read_model_config(model).has_mtp) return {};
  std::vector<sequence> sequences;
  for (auto const& each : traces) sequences.push_back({.id = each.id, .domain = {}, .ids = each.ids, .weights = {}});
  drafter const layer{model, exec, options};
  std::vector<std::vector<ratio_part>> parts(static_cast<std::size_t>(most));
  auto const judge = [&](std::int64_t s, matrix_view<float const> normed) {
    auto const& of = traces[static_cast<std::size_t>(s)];
    auto const first_new = of.ids.size() - of.new_ids.size();
    if (first_new == 0) return;
    auto const table = layer.draft(of.ids, normed, most);
    for (int k = 1; k <= most; ++k) parts[static_cast<std::size_t>(k - 1)].push_back(walk(of.ids, first_new, table, k));
  };
  decoder{model, exec, options}.run(sequences, {.on_normed = judge});
  std::vector<acceptance_length> out;
  for (int k = 1; k <= most; ++k) out.push_back({k, ratio(parts[static_cast<std::size_t>(k - 1)])});
  return out;
}

}  // namespace engine
