// SPDX-License-Identifier: Apache-2.0
#include <engine/calibrate.hpp>

#include <algorithm>
#include <chrono>
#include <set>

namespace engine {
namespace {

std::vector<std::string> domain_names(std::span<sequence const> sequences, calibration_options const& options) {
  if (!options.by_domain || !options.domains.empty()) return options.domains;
  std::set<std::string> names;
  for (auto const& each : sequences) names.insert(each.domain);
  return {names.begin(), names.end()};
}

}  // namespace

std::string settings_text(precision policy) { return policy == precision::bf16 ? "precision=bf16" : "precision=f32"; }

calibration calibrate(cull::checkpoint const& model, cull::on_cpu exec, std::span<sequence const> sequences,
                      calibration_options const& options) {
  auto const start = std::chrono::steady_clock::now();
  decoder runner{
      model, exec, {.precision = options.precision, .batch_tokens = options.batch_tokens, .index_topk = options.index_topk}};
  calibration out{.observation = cull::observation{exec,
                                                   {.layers = model.moe_layers(),
                                                    .experts = static_cast<int>(model.experts()),
                                                    .domains = domain_names(sequences, options)}}};
  auto& provenance = out.observation.provenance();
  provenance.model_digest = model.digest();
  provenance.settings = settings_text(options.precision);
  provenance.sequences = digest(sequences);
  std::sort(provenance.sequences.begin(), provenance.sequences.end());
  auto const counters = runner.run(sequences, {.observer = &out.observation, .progress = options.progress});
  out.observation.finish();
  out.tokens = counters.tokens;
  out.batches = counters.batches;
  out.threads = exec.thread_count();
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return out;
}

}  // namespace engine
