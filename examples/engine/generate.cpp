// SPDX-License-Identifier: Apache-2.0
#include <engine/generate.hpp>

#include <algorithm>
#include <deque>

#include <cull/error.hpp>

namespace engine {
namespace {

/// A prompt under way.
struct live_trace {
  std::size_t number;
  trace* result;
  random_stream random;
  std::vector<layer_cache> caches;  // one per layer
  std::int64_t cached = 0;          // positions that have been through the model
};

class generator {
 public:
  generator(cull::checkpoint const& model, cull::on_cpu exec, sampling const& settings, generate_options const& options)
      : options_(options),
        settings_(settings),
        config_(configured(model, options)),
        products_(exec, options.precision),
        embedding_(model, config_),
        head_(model, config_, products_) {
    check(settings_);
    if (settings_.stop.empty()) settings_.stop = config_.eos;
    for (int number = 0; number < config_.layers; ++number) layers_.emplace_back(model, config_, number, products_);
  }

  model_config const& config() const { return config_; }

  /// Continues `traces` (holding their prompts) to their ends; the first is number `first` of all.
  void finish(std::span<trace> traces, std::size_t first) {
    std::vector<live_trace> live;
    for (std::size_t i = 0; i < traces.size() && settings_.max_tokens > 0; ++i) {
      live.push_back(
          {first + i, &traces[i], random_stream{settings_.seed, first + i},
           std::vector<layer_cache>(layers_.size(), layer_cache{config_.cached_values(), config_.cached_index_values()})});
    }
    while (!live.empty()) {
      step(live);
      std::erase_if(live, [&](live_trace const& each) { return has_ended(*each.result); });
      if (options_.progress) options_.progress("generate", static_cast<std::int64_t>(first + traces.size() - live.size()), 0);
    }
  }

 private:
  static model_config configured(cull::checkpoint const& model, generate_options const& options) {
    auto config = read_model_config(model);
    if (options.index_topk) replace_index_topk(config, *options.index_topk);
    return config;
  }

  /// Ids that have not been through the model yet: whole prompts at first, then one per trace.
  void step(std::vector<live_trace>& live) {
    std::vector<int> ids;
    std::vector<std::int64_t> last_rows;
    for (auto const& each : live) {
      auto const& all = each.result->ids;
      ids.insert(ids.end(), all.begin() + each.cached, all.end());
      last_rows.push_back(static_cast<std::int64_t>(ids.size()) - 1);
    }
    buffer hidden = embedding_(ids);
    std::vector<picked_positions> picks(ids.size());
    for (std::size_t n = 0; n < layers_.size(); ++n) layers_[n](hidden.view(), places(live, n, picks), {});
    buffer normed{static_cast<std::int64_t>(live.size()), config_.hidden};
    for (std::size_t i = 0; i < live.size(); ++i)
      head_.norm().row(hidden.row(last_rows[i]), normed.row(static_cast<std::int64_t>(i)));
    buffer const logits = head_.logits(normed.view());
    for (std::size_t i = 0; i < live.size(); ++i) extend(live[i], logits.view().row(static_cast<std::int64_t>(i)));
  }

  static std::vector<token_place> places(std::vector<live_trace>& live, std::size_t layer, std::vector<picked_positions>& picks) {
    std::vector<token_place> out;
    for (auto& each : live) {
      auto const end = static_cast<std::int64_t>(each.result->ids.size());
      for (auto position = each.cached; position < end; ++position)
        out.push_back({position, &each.caches[layer], &picks[out.size()]});
    }
    return out;
  }

  void extend(live_trace& each, cull::array_view<float const> logits) {
    auto& result = *each.result;
    each.cached = static_cast<std::int64_t>(result.ids.size());
    if (options_.on_logits) options_.on_logits(each.number, each.cached - 1, logits);
    int const next = sample(logits, settings_, each.random);
    result.ids.push_back(next);
    result.new_ids.push_back(next);
    if (is_stop(next)) result.finish = finish_reason::stop;
  }

  bool is_stop(int id) const { return std::find(settings_.stop.begin(), settings_.stop.end(), id) != settings_.stop.end(); }
  bool has_ended(trace const& of) const {
    return of.finish == finish_reason::stop || static_cast<std::int64_t>(of.new_ids.size()) >= settings_.max_tokens;
  }

  generate_options const& options_;
  sampling settings_;
  model_config config_;
  dense products_;
  embedding embedding_;
  head head_;
  std::deque<layer> layers_;  // in place: a layer is not movable
};

}  // namespace

std::vector<trace> generate(cull::checkpoint const& model, cull::on_cpu exec, std::span<prompt const> prompts,
                            sampling const& settings, generate_options const& options) {
  generator writer{model, exec, settings, options};
  std::vector<trace> out;
  for (auto const& each : prompts) {
    check_ids(each.id, each.ids, writer.config().vocabulary);
    out.push_back({.id = each.id, .ids = each.ids, .new_ids = {}});
  }
  auto const step =
      options.prompts_at_once > 0 ? static_cast<std::size_t>(options.prompts_at_once) : std::max<std::size_t>(out.size(), 1);
  for (std::size_t first = 0; first < out.size(); first += step) {
    writer.finish(std::span{out}.subspan(first, std::min(step, out.size() - first)), first);
    if (options.progress)
      options.progress("generate", static_cast<std::int64_t>(std::min(first + step, out.size())),
                       static_cast<std::int64_t>(out.size()));
  }
  return out;
}

}  // namespace engine
