// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include <engine/heap.hpp>
#include <engine/layer.hpp>
#include <engine/mtp.hpp>
#include <engine/sequences.hpp>
#include <engine/token_table.hpp>
#include <engine/vocabulary.hpp>

namespace engine {

struct decoder_options {
  engine::precision precision = engine::precision::f32;
  std::int64_t batch_tokens = 1024;             ///< most tokens taken through a layer at once; 0: all
  std::optional<std::int64_t> index_topk = {};  ///< instead of config.json's, in every layer
};

/// What a run shows on its way. Layers are numbered as in tensor names, the MTP layer last; its "sequences" are one token
/// shorter. Views are valid during the call. A hook that is not set costs nothing.
struct layer_hooks {
  observation* observer = nullptr;  ///< counts every MoE layer's routed tokens with the sequences' weights
  bool leave_one_out = false;       ///< and sums what single experts are missed for
  /// Asked after a MoE layer was observed: which of its experts stay. Later layers then see the pruned prefix; every MoE layer is
  /// run twice.
  std::function<std::vector<int>(int layer)> prune_after = {};
  std::function<void(std::int64_t sequence, matrix_view<float const> normed)> on_normed = {};  ///< [tokens, hidden], final norm
  std::function<void(std::int64_t sequence, matrix_view<float const> logits)> on_logits = {};  ///< [tokens, vocabulary]
  std::function<void(std::int64_t sequence, matrix_view<float const> logits)> on_mtp_logits = {};  ///< [tokens - 1, vocabulary]
  std::function<void(int layer, std::int64_t sequence, cull::routing<> const&)> on_routing = {};
  /// Per token the positions it attends to, empty for all; only layers that have an indexer.
  std::function<void(int layer, std::int64_t sequence, std::span<picked_positions const>)> on_indexer = {};
  std::function<void(int layer, std::int64_t sequence, matrix_view<float const> hidden)> on_hidden = {};
  std::function<void(std::string_view stage, std::int64_t done, std::int64_t total)> progress = {};  ///< in tokens
  stage_times* times = nullptr;  ///< where the time of layers goes is added to; `other` is left alone
  heap_counter* heap = nullptr;  ///< what counts the program's heap, for `scratch_bytes`
};

struct run_counters {
  std::int64_t tokens = 0;
  std::int64_t batches = 0;        ///< of all layers together
  std::int64_t state_bytes = 0;    ///< hidden states of all tokens and what indexers picked for them, most at a time
  std::int64_t scratch_bytes = 0;  ///< most that layers took from the heap beside those; 0: nobody counted
};

/// A decoder of any architecture of `architecture_of`, layer by layer: one layer's weights (mapped) and the hidden states of all
/// tokens are in memory at a time. No result depends on batch_tokens, on threads, or on the other sequences of a run.
class decoder {
 public:
  /// `model` must outlive the decoder. Throws errc::unsupported_model, errc::bad_config.
  decoder(cull::checkpoint const& model, cull::on_cpu exec, decoder_options options = {});

  decoder(decoder const&) = delete;
  decoder& operator=(decoder const&) = delete;

  model_config const& config() const { return config_; }

  /// Throws errc::bad_sequence for ids outside the vocabulary and weights that cannot be used.
  run_counters run(std::span<sequence const> sequences, layer_hooks const& hooks);

 private:
  buffer run_layers(token_table const& tokens, layer_hooks const& hooks, run_counters& counters) const;
  void run_mtp(buffer const& normed, token_table const& all, token_table const& drafting, layer_hooks const& hooks,
               run_counters& counters) const;

  cull::checkpoint const& model_;
  decoder_options options_;
  model_config config_;
  dense products_;
  embedding embedding_;
  head head_;
};

}  // namespace engine
