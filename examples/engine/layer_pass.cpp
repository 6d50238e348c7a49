// SPDX-License-Identifier: Apache-2.0
#include <engine/layer_pass.hpp>

#include <algorithm>
#include <string>

namespace engine {
namespace {

template <class T>
cull::array_view<T const> slice(std::vector<T> const& column, std::int64_t first, std::int64_t count) {
  if (column.empty()) return {};
  return {column.data() + first, count};
}

}  // namespace

std::vector<token_place> layer_pass::places(std::int64_t first, std::int64_t count) {
  std::vector<token_place> out;
  for (auto t = static_cast<std::size_t>(first); t < static_cast<std::size_t>(first + count); ++t) {
    out.push_back({tokens_.positions[t], &caches_[static_cast<std::size_t>(tokens_.sequence[t])], &picks_[t]});
  }
  return out;
}

/// Of the tokens from `next` on.
int layer_pass::first_open(std::int64_t next) const {
  return next < tokens_.rows() ? tokens_.sequence[static_cast<std::size_t>(next)] : static_cast<int>(tokens_.sequences());
}

std::int64_t layer_pass::picked_bytes() const {
  std::size_t out = 0;
  for (auto const& picks : picks_) out += picks.capacity() * sizeof(picks[0]);
  return static_cast<std::int64_t>(out);
}

std::int64_t layer_pass::operator()(layer const& through, buffer& hidden) {
  auto* const observer = hooks_.observer;
  bool const observed =
      observer != nullptr && std::binary_search(observer->layers().begin(), observer->layers().end(), through.number());
  std::int64_t batches = 0;
  if (observed && hooks_.prune_after) {
    std::copy(hidden.row(0), hidden.row(hidden.rows()), unpruned_.row(0));
    batches += take(through, unpruned_, observer);
    through.keep_only(hooks_.prune_after(through.number()));
    batches += take(through, hidden, nullptr);
  } else {
    batches += take(through, hidden, observed ? observer : nullptr);
  }
  show(through, hidden);
  return batches;
}

std::int64_t layer_pass::take(layer const& through, buffer& hidden, observation* observer) {
  std::fill(caches_.begin(), caches_.end(), layer_cache{config_.cached_values(), config_.cached_index_values()});
  routed_ids_.clear();
  routed_weights_.clear();
  moe_watch watch{.observer = observer, .leave_one_out = hooks_.leave_one_out, .times = hooks_.times};
  if (hooks_.on_routing) {
    watch.routing = [this](cull::routing<> const& of) {
      for (std::int64_t t = 0; t < of.ids.rows(); ++t) {
        routed_ids_.insert(routed_ids_.end(), of.ids.row(t).begin(), of.ids.row(t).end());
        routed_weights_.insert(routed_weights_.end(), of.weights.row(t).begin(), of.weights.row(t).end());
      }
    };
  }
  auto const stage = "layer " + std::to_string(through.number());
  std::int64_t batches = 0;
  for (std::int64_t first = 0; first < tokens_.rows(); first += batch_tokens_, ++batches) {
    auto const count = std::min(batch_tokens_, tokens_.rows() - first);
    watch.weights = slice(tokens_.weights, first, count);
    watch.sequence = slice(tokens_.sequence, first, count);
    watch.domain = slice(tokens_.domain, first, count);
    through(hidden.view().rows(first, count), places(first, count), watch);
    // Complete sequences are forgotten at once: what is remembered is a batch and one sequence, however many there are.
    auto const open = first_open(first + count);
    for (auto s = tokens_.sequence[static_cast<std::size_t>(first)]; s < open; ++s)
      caches_[static_cast<std::size_t>(s)] = layer_cache{};
    if (observer != nullptr) observer->at(through.number()).finish_below(open);
    if (hooks_.progress) hooks_.progress(stage, first + count, tokens_.rows());
  }
  return batches;
}

void layer_pass::show(layer const& after, buffer const& hidden) const {
  auto const chosen = tokens_.rows() == 0 ? 0 : static_cast<std::int64_t>(routed_ids_.size()) / tokens_.rows();
  for (std::int64_t s = 0; s < tokens_.sequences(); ++s) {
    auto const first = tokens_.starts[static_cast<std::size_t>(s)];
    auto const count = tokens_.starts[static_cast<std::size_t>(s + 1)] - first;
    if (hooks_.on_hidden) hooks_.on_hidden(after.number(), s, hidden.view().rows(first, count));
    if (hooks_.on_indexer && after.has_indexer()) {
      hooks_.on_indexer(after.number(), s,
                        std::span{picks_}.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)));
    }
    if (hooks_.on_routing && chosen > 0) {
      hooks_.on_routing(after.number(), s,
                        cull::routing<>{matrix_view<std::int32_t const>{routed_ids_.data() + first * chosen, count, chosen},
                                        matrix_view<float const>{routed_weights_.data() + first * chosen, count, chosen}});
    }
  }
}

}  // namespace engine
