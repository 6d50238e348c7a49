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

std::vector<token_place> layer_pass::places(std::vector<layer_cache>& caches) {
  std::vector<token_place> out;
  for (std::size_t t = 0; t < tokens_.ids.size(); ++t) {
    out.push_back({tokens_.positions[t], &caches[static_cast<std::size_t>(tokens_.sequence[t])], &picks_[t]});
  }
  return out;
}

std::int64_t layer_pass::operator()(layer const& through, buffer& hidden) {
  auto* const observer = hooks_.observer;
  bool const observed =
      observer != nullptr && std::binary_search(observer->layers().begin(), observer->layers().end(), through.number());
  std::int64_t batches = 0;
  if (observed && hooks_.prune_after) {
    buffer unpruned = hidden;
    batches += take(through, unpruned, observer);
    observer->at(through.number()).finish();
    through.keep_only(hooks_.prune_after(through.number()));
    batches += take(through, hidden, nullptr);
  } else {
    batches += take(through, hidden, observer);
    if (observed) observer->at(through.number()).finish();  // sequences are complete here, and open ones need memory
  }
  show(through, hidden);
  return batches;
}

std::int64_t layer_pass::take(layer const& through, buffer& hidden, observation* observer) {
  std::vector<layer_cache> caches(static_cast<std::size_t>(tokens_.sequences()),
                                  layer_cache{config_.cached_values(), config_.cached_index_values()});
  auto const all = places(caches);
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
  auto const step = batch_tokens_ > 0 ? batch_tokens_ : std::max<std::int64_t>(tokens_.rows(), 1);
  std::int64_t batches = 0;
  for (std::int64_t first = 0; first < tokens_.rows(); first += step, ++batches) {
    auto const count = std::min(step, tokens_.rows() - first);
    watch.weights = slice(tokens_.weights, first, count);
    watch.sequence = slice(tokens_.sequence, first, count);
    watch.domain = slice(tokens_.domain, first, count);
    through(hidden.view().rows(first, count),
            std::span{all}.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count)), watch);
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
