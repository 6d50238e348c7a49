// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <engine/decoder.hpp>

namespace engine {

struct calibration_options {
  engine::precision precision = engine::precision::f32;
  std::int64_t batch_tokens = 1024;       ///< as in decoder_options
  bool by_domain = false;                 ///< sums per domain; otherwise over all
  std::vector<std::string> domains = {};  ///< with by_domain: names in their order; empty: those of the sequences, sorted
  std::optional<std::int64_t> index_topk = {};
  std::function<void(std::string_view stage, std::int64_t done, std::int64_t total)> progress = {};
};

struct calibration {
  engine::observation observation;  ///< of every MoE layer, MTP included, with provenance
  std::int64_t tokens = 0;
  std::int64_t batches = 0;  ///< of all layers together
  int threads = 0;
  double seconds = 0;
};

/// What an observation says about the policy it was taken under.
std::string settings_text(precision policy);

/// Runs the model over the sequences and sums what its experts do. The observation is the same bits whatever batch_tokens, the
/// number of threads and the order of the sequences; parts of a set, calibrated apart, merge to the whole one's bits.
calibration calibrate(cull::checkpoint const& model, cull::on_cpu exec, std::span<sequence const> sequences,
                      calibration_options const& options = {});

}  // namespace engine
