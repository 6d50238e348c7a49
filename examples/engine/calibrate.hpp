// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <cull/selection.hpp>

#include <engine/decoder.hpp>

namespace engine {

/// Later layers see the model as it will be: each layer is pruned as soon as it has been observed.
struct sequential_pruning {
  cull::keep budget;
  std::string criterion = "reap";
};

struct calibration_options {
  engine::precision precision = engine::precision::f32;
  std::int64_t batch_tokens = 1024;       ///< as in decoder_options
  bool by_domain = false;                 ///< sums per domain; otherwise over all
  std::vector<std::string> domains = {};  ///< with by_domain: names in their order; empty: those of the sequences, sorted
  std::optional<std::int64_t> index_topk = {};
  bool leave_one_out = false;  ///< also sum what each expert is missed for: one more expert run for every top_k
  std::optional<sequential_pruning> sequential = {};  ///< empty: all layers see the whole model
  std::function<void(std::string_view stage, std::int64_t done, std::int64_t total)> progress = {};
  heap_counter* heap = nullptr;  ///< what counts the program's heap; without it nobody knows `scratch_bytes`
};

struct calibration {
  engine::observation observation;  ///< of every MoE layer, MTP included, with provenance
  cull::selection pruned = {};      ///< with `sequential`: what later layers did not see
  std::int64_t tokens = 0;
  std::int64_t batches = 0;  ///< of all layers together
  int threads = 0;
  double seconds = 0;
  stage_times times = {};         ///< where the seconds went
  std::int64_t mapped_bytes = 0;  ///< the model's files, of which the system keeps in memory what it likes
  std::int64_t state_bytes = 0;   ///< hidden states of all tokens and what indexers picked for them, most at a time
  /// Most that layers took from the heap beside the states: what the collector, attention, kernels and threads work in, the keys
  /// of sequences that a batch touches, the sums of those that are open, views of the layer's weights. It grows with
  /// batch_tokens, threads and the longest sequence, not with their number or the layers'. 0: nobody counted. Not in it: the
  /// observation, and lists of tokens and sequences (some hundred bytes a token).
  std::int64_t scratch_bytes = 0;
  std::int64_t resident_bytes = 0;  ///< most that the process had in memory, mapped pages included; 0: not known
};

/// Fills `mapped_bytes` and `resident_bytes`.
void measure_memory(cull::checkpoint const& model, calibration& out);

/// What an observation says about the policy it was taken under.
std::string settings_text(precision policy);

/// Runs the model over the sequences and sums what its experts do. The observation is the same bits whatever batch_tokens, the
/// number of threads and the order of the sequences; parts of a set, calibrated apart, merge to the whole one's bits. With
/// `sequential` the experts that stay depend on the whole set, and the settings hold their digest: such an observation merges
/// only with those that saw the same prefix.
calibration calibrate(cull::checkpoint const& model, cull::on_cpu exec, std::span<sequence const> sequences,
                      calibration_options const& options = {});

}  // namespace engine
