// SPDX-License-Identifier: Apache-2.0
#include <engine/calibrate.hpp>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <set>

#if __has_include(<sys/resource.h>)
#include <sys/resource.h>
#endif

namespace engine {
namespace {

std::vector<std::string> domain_names(std::span<sequence const> sequences, calibration_options const& options) {
  if (!options.by_domain || !options.domains.empty()) return options.domains;
  std::set<std::string> names;
  for (auto const& each : sequences) names.insert(each.domain);
  return {names.begin(), names.end()};
}

/// Prunes each layer by what was observed of it.
class prefix_pruner {
 public:
  prefix_pruner(observation const& seen, sequential_pruning const& how)
      : seen_(seen), budget_(how.budget), criterion_(cull::criterion_by_name<cull::block_sums>(how.criterion)) {}

  std::vector<int> operator()(int layer) {
    auto chosen = cull::select(seen_, criterion_, cull::layer_budget{{{layer, budget_.count}}, budget_.groups});
    pruned.layers.push_back(std::move(chosen.layers.at(0)));
    return pruned.layers.back().kept;
  }
  std::string digest() const {
    cull::detail::hasher hash;
    for (auto const& each : pruned.layers) {
      hash.add(static_cast<std::uint64_t>(each.layer));
      for (int const id : each.kept) hash.add(static_cast<std::uint64_t>(id));
    }
    return hash.hex();
  }

  cull::selection pruned;

 private:
  observation const& seen_;
  cull::keep budget_;
  cull::criterion_on<cull::block_sums> criterion_;
};

}  // namespace

void measure_memory(cull::checkpoint const& model, calibration& out) {
  for (auto const& file : model.shards()) out.mapped_bytes += static_cast<std::int64_t>(std::filesystem::file_size(file.path()));
#if __has_include(<sys/resource.h>)
  rusage used{};
  if (getrusage(RUSAGE_SELF, &used) == 0) out.resident_bytes = std::int64_t{used.ru_maxrss} * 1024;
#endif
}

std::string settings_text(precision policy) { return policy == precision::bf16 ? "precision=bf16" : "precision=f32"; }

calibration calibrate(cull::checkpoint const& model, cull::on_cpu exec, std::span<sequence const> sequences,
                      calibration_options const& options) {
  auto const start = std::chrono::steady_clock::now();
  decoder runner{
      model, exec, {.precision = options.precision, .batch_tokens = options.batch_tokens, .index_topk = options.index_topk}};
  calibration out{
      .observation = observation{
          exec, {.layers = model.moe_layers(), .experts = model.expert_counts(), .domains = domain_names(sequences, options)}}};
  auto& provenance = out.observation.provenance();
  provenance.model_digest = model.digest();
  provenance.settings = settings_text(options.precision);
  provenance.sequences = digest(sequences);
  std::sort(provenance.sequences.begin(), provenance.sequences.end());
  if (options.leave_one_out) provenance.settings += ";leave_one_out";
  layer_hooks hooks{.observer = &out.observation,
                    .leave_one_out = options.leave_one_out,
                    .progress = options.progress,
                    .times = &out.times,
                    .heap = options.heap};
  std::optional<prefix_pruner> pruner;
  if (options.sequential) {
    pruner.emplace(out.observation, *options.sequential);
    hooks.prune_after = std::ref(*pruner);
  }
  auto const counters = runner.run(sequences, hooks);
  out.observation.finish();
  if (pruner) {
    provenance.settings += ";sequential=" + options.sequential->criterion + ":" +
                           std::to_string(options.sequential->budget.count) + ";prefix=" + pruner->digest();
    out.pruned = std::move(pruner->pruned);
  }
  out.tokens = counters.tokens;
  out.batches = counters.batches;
  out.state_bytes = counters.state_bytes;
  out.scratch_bytes = counters.scratch_bytes;
  out.threads = exec.thread_count();
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  out.times.close(out.seconds);
  measure_memory(model, out);
  return out;
}

}  // namespace engine
